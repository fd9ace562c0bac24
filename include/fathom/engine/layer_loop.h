// The layer loop: every model, policy and device goes through these few functions.
//
//   rows -> [ layer:  signals -> policy decides -> act -> attention -> feed-forward ] -> head
//
// LayerLoop holds what a step works on. It asks the policy at each boundary, sorts the rows by what they do next
// (ActiveSet), and runs the two halves of the layer for those that run it. A row that skips or has left still gets its
// keys and values written, from the state it has: no later row ever meets a hole. Products and attention live in ops/,
// cells in cache/, decisions in policy/. Next in the flow: head logits go to sample/sampler.h.
#pragma once

#include <algorithm>
#include <span>

#include "fathom/cache/kv_cache.h"
#include "fathom/engine/active_set.h"
#include "fathom/engine/boundary.h"
#include "fathom/engine/layer_observer.h"
#include "fathom/engine/silenced_heads.h"
#include "fathom/engine/state_history.h"
#include "fathom/engine/step_buffers.h"
#include "fathom/engine/work.h"
#include "fathom/head/exit_heads.h"
#include "fathom/head/hot_head.h"
#include "fathom/head/routers.h"
#include "fathom/head/screened_head.h"
#include "fathom/model/model.h"
#include "fathom/ops/attention.h"
#include "fathom/ops/rows.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct LayerLoop {
  const ModelConfig& config;
  const Weights& weights;
  const KernelTable& kernels;
  const WorkModel& work;
  ThreadPool& pool;
  KvCache& cache;
  StepBuffers& buffers;  // states x [rows, d] and scratch
  std::span<RowState> rows;
  std::span<int32_t> inexact_from;  // [sequences, n_layers] first position whose cell is not what full depth has
  ActiveSet& active;
  Boundary& boundary;                   // signals in, decisions out; records them when a trace listens
  ScreenedHead* screen = nullptr;       // reads what bounds leave of the head; null: all of it is read
  std::span<const LogitUse> uses = {};  // [rows with logits] and what it is to say of each
  std::span<ScreenReport> reports = {};
  HotHead* hot = nullptr;                   // answers in place of the head; null: the head does
  HotHead* checks = nullptr;                // what exit checks look at before the head; null: the head at once
  const ExitHeads* fitted = nullptr;        // what was fitted for rows that leave early; null: nothing
  int32_t group = 0;                        // of it
  const LabelHeads* labels = nullptr;       // an encoder's, which answer for whole texts; null: none
  const Routers* routers = nullptr;         // say which rows need the coming layer; null: nobody does
  const TokenClass* classes = nullptr;      // [vocab] of tokens; null: nobody asks
  LayerObserver* observer = nullptr;        // sees the states between layers
  const SilencedHeads* silenced = nullptr;  // heads that Verdict::silence_heads is about; null: none
  StateHistory* states = nullptr;           // of earlier rows, where a stage looks back on them

  /// Runs all rows from their tokens to their logits.
  void run() {
    embed();
    active.reset(rows);
    for (int32_t layer = 1; layer <= config.n_layers; ++layer) {
      boundary.decide(*this, layer - 1);  // sets each running row's verdict in `active`
      settle(layer - 1);                  // lets rows that owe layers join
      active.act();
      if (!spec_of(layer).causal) active.forget_finished(rows, n_sequences());
      attention_half(layer);
      feed_forward_half(layer);
      if (observer != nullptr) observer->at(*this, layer);
    }
    head();
  }

  /// x += after_norm(attention(norm(x))) for rows that attend, or norm(x + attention(x)) where norms are on sums; keys
  /// and values for those and for all that do not.
  void attention_half(int32_t layer) {
    const LayerSpec& spec = spec_of(layer);
    const LayerWeights& w = weights_of(layer);
    const auto write = active.write(), attend = active.attend();  // write begins with attend: q takes its first rows
    const int64_t n_write = std::ssize(write), n = std::ssize(attend);
    const SilencedHeads::Layer* const quiet = silenced != nullptr ? silenced->of(layer) : nullptr;
    const int64_t n_whole = std::ssize(whole(layer)), n_quiet = n - n_whole;
    boundary.before_half(*this, Half::attention);

    const int64_t q_cols = spec.heads * spec.head_dim, kv_cols = spec.kv_heads * spec.head_dim;
    norm_rows(write, w.attention_norm);
    translate_fills(layer, write);
    const LinearJob qkv[] = {
        {&w.q, n_whole, buffers.q, q_cols}, {&w.k, n_write, buffers.k, kv_cols}, {&w.v, n_write, buffers.v, kv_cols}};
    product(buffers.input, config.d_model, n_whole > 0 ? std::span(qkv) : std::span(qkv).last(2));  // no q
    if (n_quiet > 0) quiet->ask(*this, n_whole, n_quiet);
    if (spec.qk_norm) {
      norm_heads(buffers.q, n * spec.heads, spec.head_dim, w.q_norm);
      norm_heads(buffers.k, n_write * spec.kv_heads, spec.head_dim, w.k_norm);
    }
    const float* cos_sin = buffers.rope.of(layer, write);
    rotate(spec, buffers.q, n, spec.heads, cos_sin);
    rotate(spec, buffers.k, n_write, spec.kv_heads, cos_sin);
    write_cells(layer, spec, write);
    mark_cells(layer, write);
    if (n == 0) return;

    for (AttentionRow* view = buffers.views; int32_t r : attend) {
      const int32_t end = row(r).last_cell + 1;
      *view++ = {cache.pages(layer, row(r).sequence), spec.window > 0 ? std::max(0, end - spec.window) : 0, end};
    }
    mix(layer, 0, n_whole, {});
    const LinearJob out[] = {{&w.o, n_whole, buffers.projected, config.d_model}};
    product(buffers.mixed, q_cols, out);
    if (n_quiet > 0) {
      mix(layer, n_whole, n_quiet, quiet->listened());
      quiet->tell(*this, n_whole, n_quiet);
    }
    add_to_state(attend, spec.norm_sum, w.attention_after_norm, w.attention_after_bias);
    for (int64_t i = 0; i < n; ++i) {
      RowState& r = row(attend[static_cast<size_t>(i)]);
      r.ran_half(work.attention(layer, r.last_cell, i < n_whole ? AttentionSaving{} : quiet->saving()));
    }
    boundary.after_half(*this, Half::attention, attend);
  }

  /// x += after_norm(down(gate(x) * up(x))), or norm(x + down(gate(up(x)))), for rows that run it.
  void feed_forward_half(int32_t layer) {
    const LayerSpec& spec = spec_of(layer);
    const LayerWeights& w = weights_of(layer);
    const auto feed = active.feed();
    const int64_t n = std::ssize(feed);
    if (n == 0) return;
    boundary.before_half(*this, Half::feed_forward);

    norm_rows(feed, w.feed_forward_norm);
    const int64_t ff = spec.feed_forward;
    const float* const factor = spec.gated ? buffers.up : nullptr;
    const LinearJob in[] = {{spec.gated ? &w.gate : &w.up, n, buffers.gate, ff}, {&w.up, n, buffers.up, ff}};
    product(buffers.input, config.d_model, std::span(in).first(spec.gated ? 2 : 1));
    run_rows(pool, kernels.gated, n, ff,
             GatedArgs{.kind = spec.gate, .a = buffers.gate, .b = factor, .cols = ff, .dst = buffers.gate});
    const LinearJob out[] = {{&w.down, n, buffers.projected, config.d_model}};
    product(buffers.gate, ff, out);
    add_to_state(feed, spec.norm_sum, w.feed_forward_after_norm, w.feed_forward_after_bias);
    for (int32_t r : feed) row(r).ran_half(work.feed_forward(layer));
    boundary.after_half(*this, Half::feed_forward, feed);
  }

  /// Where the attention of rows went in the half that `active` ran last, mean over heads. The boundary or the observer
  /// has said that it is asked for.
  ///   which   [n] rows, by their places in whole(layer): without some heads there is no mean over heads
  ///   from    [n] first cell of each
  ///   dst     [n, stride]  shares of the cells from there to the row's own
  void attention_share(int32_t layer, std::span<const int32_t> which, const int32_t* from, float* dst, int64_t stride);

  /// Logits of the rows that predict and have no answer yet, from the state they have, wherever they left.
  void head();

  /// The answer the listed rows would give with `layer` layers behind them: what was fitted for leaving there, final
  /// norm and LM head. Rows that predict find it in their place.
  ///   stats   [which] what the answers look like; null where nobody asks
  ///   list    the tokens to look at in place of the head, whose answer is put nowhere; null: all
  void answer(std::span<const int32_t> which, int32_t layer, LogitStats* stats, HotHead* list = nullptr);

  /// Multiply-adds of the fills of a row that leaves with `layer` layers behind it.
  double fills_above(int32_t layer) const;

  /// Rows that attend with all their heads: the first of active.attend().
  std::span<const int32_t> whole(int32_t layer) const {
    const bool quiet = silenced != nullptr && silenced->of(layer) != nullptr;
    return active.attend().first(active.attend().size() - static_cast<size_t>(quiet ? active.n_silenced() : 0));
  }
  RowState& row(int32_t i) const { return rows[static_cast<size_t>(i)]; }
  const LayerSpec& spec_of(int32_t layer) const { return config.layers[static_cast<size_t>(layer - 1)]; }
  const LayerWeights& weights_of(int32_t layer) const { return weights.layers[static_cast<size_t>(layer - 1)]; }

  int32_t& first_inexact(int32_t layer, int32_t sequence) const {
    return inexact_from[static_cast<size_t>(sequence * config.n_layers + layer - 1)];
  }

  // ---- the small steps above, in src/engine/layer_loop.cc and fitted_rows.cc --------------------------------------
  void embed();                                                                  // tokens -> x
  void add_positions();                                                          // of a table, with the norm behind
  void norm_rows(std::span<const int32_t> which, const float* weight);           // x[which] -> input; null: as it is
  void norm_exits(std::span<const int32_t> which, const ExitHeads::Exit& exit);  // the same, translated and tempered
  void translate_fills(int32_t layer, std::span<const int32_t> write);  // normed, of rows whose exit has KV translators
  void norm_heads(float* heads, int64_t n_heads, int64_t head_dim, const float* weight);
  void product(const float* src, int64_t cols, std::span<const LinearJob> jobs);
  Activations activations(const float* src, int64_t cols, std::span<const LinearJob> jobs);  // quantises where asked
  void rotate(const LayerSpec& spec, float* x, int64_t n, int64_t heads, const float* cos_sin);
  void write_cells(int32_t layer, const LayerSpec& spec, std::span<const int32_t> write);  // k, v -> cache
  AttentionArgs attention_args(int32_t layer, int64_t first) const;  // of rows that attend, from `first` on
  void mark_cells(int32_t layer, std::span<const int32_t> write);    // provenance, debts, and fills as work
  void settle(int32_t layer);  // rows that owe the layers above join where their sequence goes on, and leave where not
  void mix(int32_t layer, int64_t first, int64_t n, std::span<const uint8_t> listened);  // q -> mixed
  /// x[which] += projected; a norm is on what is added, or on the sum.
  void add_to_state(std::span<const int32_t> which, bool norm_sum, const float* weight, const float* bias);
  int32_t n_sequences() const { return static_cast<int32_t>(inexact_from.size()) / config.n_layers; }
};

}  // namespace fathom
