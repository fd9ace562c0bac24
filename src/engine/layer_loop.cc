// The small steps of the layer loop: gathering rows, quantising where a product asks for it, placing answers.
#include "fathom/engine/layer_loop.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace fathom {

void LayerLoop::embed() {
  buffers.rope.fill(pool, rows);
  int32_t* ids = buffers.ids;
  for (size_t i = 0; i < rows.size(); ++i) ids[i] = rows[i].token;
  const Tensor& table = weights.embedding;
  run_rows(pool, kernels.embed, static_cast<int64_t>(rows.size()), table.cols,
           EmbedArgs{.type = table.type,
                     .table = table.data,
                     .cols = table.cols,
                     .ids = ids,
                     .scale = config.embedding_scale,
                     .dst = buffers.x});
  if (config.learned_positions) add_positions();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].from > 0) std::copy_n(rows[i].state, config.d_model, buffers.state(int64_t(i)).data());
  }
}

void LayerLoop::add_positions() {
  const auto n = std::ssize(rows);
  const auto add_rows_of = [&](const float* table, auto&& place) {
    for (int64_t i = 0; i < n; ++i) buffers.ids[i] = place(row(static_cast<int32_t>(i)));
    run_rows(pool, kernels.embed, n, config.d_model,
             EmbedArgs{.type = DType::f32,
                       .table = table,
                       .cols = config.d_model,
                       .ids = buffers.ids,
                       .scale = 1,
                       .dst = buffers.projected});
    run_rows(pool, kernels.add, n, config.d_model,
             AddArgs{.y = buffers.projected, .index = nullptr, .cols = config.d_model, .x = buffers.x});
  };
  if (weights.segments != nullptr) add_rows_of(weights.segments, [](const RowState&) { return 0; });
  add_rows_of(weights.positions, [](const RowState& r) { return r.position; });
  run_rows(pool, kernels.norm, n, config.d_model,
           NormArgs{.src = buffers.x,
                    .index = nullptr,
                    .cols = config.d_model,
                    .weight = weights.embedding_norm,
                    .eps = config.norm_eps,
                    .dst = buffers.x,
                    .kind = config.norm,
                    .bias = weights.embedding_bias});
}

namespace {

/// Whether rows follow one another, so that their states are one piece of memory.
bool consecutive(std::span<const int32_t> which) {
  return !which.empty() &&
         std::adjacent_find(which.begin(), which.end(), [](int32_t a, int32_t b) { return b != a + 1; }) == which.end();
}

}  // namespace

void LayerLoop::norm_rows(std::span<const int32_t> which, const float* weight) {
  buffers.input = buffers.normed;
  if (weight == nullptr) {
    if (consecutive(which)) {
      buffers.input = buffers.state(which.front()).data();
      return;
    }
    return pool.run(std::ssize(which), [&](int64_t i) {
      std::copy_n(buffers.state(which[static_cast<size_t>(i)]).data(), config.d_model,
                  buffers.normed + i * config.d_model);
    });
  }
  run_rows(pool, kernels.norm, std::ssize(which), config.d_model,
           NormArgs{.src = buffers.x,
                    .index = which.data(),
                    .cols = config.d_model,
                    .weight = weight,
                    .eps = config.norm_eps,
                    .dst = buffers.normed});
}

double LayerLoop::fills_above(int32_t layer) const {
  const ExitHeads::Exit* const exit = fitted != nullptr ? fitted->at(layer) : nullptr;
  return work.fill_above(layer) + (exit != nullptr ? exit->fills_multiply : 0);
}

void LayerLoop::norm_heads(float* heads, int64_t n_heads, int64_t head_dim, const float* weight) {
  run_rows(
      pool, kernels.norm, n_heads, head_dim,
      NormArgs{
          .src = heads, .index = nullptr, .cols = head_dim, .weight = weight, .eps = config.norm_eps, .dst = heads});
}

void LayerLoop::product(const float* src, int64_t cols, std::span<const LinearJob> jobs) {
  linear(pool, activations(src, cols, jobs), jobs);
}

Activations LayerLoop::activations(const float* src, int64_t cols, std::span<const LinearJob> jobs) {
  Activations activations{.f32 = src, .quant = buffers.quant, .bf16 = buffers.bf16};
  activations.quant.cols = padded_cols(cols);
  int64_t quantised = 0, rounded = 0;  // rows some product reads in 8 or 12 bits, or in bf16; all that do read the same
  bool low_plane = false;
  for (const LinearJob& job : jobs) {
    const Activation form = job.weight->kernel->activation;
    low_plane |= form == Activation::q12;
    if (form == Activation::bf16) {
      rounded = std::max(rounded, job.n);
    } else if (form != Activation::f32) {
      quantised = std::max(quantised, job.n);
    }
  }
  FATHOM_ASSERT(quantised == 0 || rounded == 0);  // they share their memory
  if (rounded > 0) {
    run_rows(pool, kernels.round, rounded, cols,
             RoundArgs{.src = src, .src_cols = cols, .dst = buffers.bf16, .dst_cols = padded_cols(cols)});
  }
  if (!low_plane) activations.quant.low = nullptr;
  if (quantised > 0) {
    run_rows(pool, kernels.quantize, quantised, cols,
             QuantizeArgs{.src = src, .src_cols = cols, .dst = activations.quant});
  }
  return activations;
}

void LayerLoop::rotate(const LayerSpec& spec, float* x, int64_t n, int64_t heads, const float* cos_sin) {
  if (n == 0 || spec.rope_dim == 0) return;
  run_rows(pool, kernels.rope, n, heads * spec.head_dim,
           RopeArgs{.x = x,
                    .heads = heads,
                    .head_dim = spec.head_dim,
                    .rope_dim = spec.rope_dim,
                    .pairing = spec.pairing,
                    .cos_sin = cos_sin});
}

void LayerLoop::write_cells(int32_t layer, const LayerSpec& spec, std::span<const int32_t> write) {
  KvCell* cell = buffers.cells;
  for (int32_t r : write) *cell++ = cache.cell(layer, row(r).sequence, row(r).cell);
  const auto stands_for_more = [](const RowState& r) { return r.stands_for != 1; };
  if (std::any_of(rows.begin(), rows.end(), stands_for_more)) {
    for (int32_t r : write) cache.weigh(layer, row(r).sequence, row(r).cell, row(r).stands_for);
  }
  run_rows(pool, kernels.kv_write, std::ssize(write), spec.kv_heads * spec.head_dim,
           KvWriteArgs{.type = cache.type(),
                       .k = buffers.k,
                       .v = buffers.v,
                       .kv_heads = spec.kv_heads,
                       .head_dim = spec.head_dim,
                       .cells = buffers.cells});
}

AttentionArgs LayerLoop::attention_args(int32_t layer, int64_t first) const {
  const LayerSpec& spec = spec_of(layer);
  const int64_t cols = int64_t{spec.heads} * spec.head_dim;
  const bool shares = boundary.reads_attention() || (observer != nullptr && observer->reads_attention(layer));
  return {.type = cache.type(),
          .q = buffers.q + first * cols,
          .rows = buffers.views + first,
          .heads = spec.heads,
          .kv_heads = spec.kv_heads,
          .head_dim = spec.head_dim,
          .scale = spec.attention_scale,
          .dst = buffers.mixed + first * cols,
          .totals = shares && first == 0 ? buffers.totals : nullptr};  // of whole rows
}

void LayerLoop::attention_share(int32_t layer, std::span<const int32_t> which, const int32_t* from, float* dst,
                                int64_t stride) {
  const LayerSpec& spec = spec_of(layer);
  run_rows(
      pool, kernels.attention_share, std::ssize(which), stride * spec.heads * spec.head_dim,
      AttentionShareArgs{
          .attention = attention_args(layer, 0), .index = which.data(), .from = from, .dst = dst, .stride = stride});
}

void LayerLoop::mark_cells(int32_t layer, std::span<const int32_t> write) {
  const size_t n_attend = active.attend().size();
  for (size_t i = 0; i < write.size(); ++i) {
    RowState& r = row(write[i]);
    const bool attends = i < n_attend;
    cache.mark(layer, r.sequence, r.cell,
               r.exact             ? Provenance::exact
               : r.kept != nullptr ? Provenance::owed
               : attends           ? Provenance::inexact
                                   : Provenance::filled);
    // All rows of its sequence from the first that owed are in this layer: what they write here is exact again.
    int32_t& inexact = first_inexact(layer, r.sequence);
    if (r.settles != Settles::nothing && r.exact && inexact >= r.position)
      inexact = std::numeric_limits<int32_t>::max();
    if (!r.exact) first_inexact(layer, r.sequence) = std::min(first_inexact(layer, r.sequence), r.position);
    if (!attends) r.macs += work.fill(layer);
  }
  // A state stays exact through a layer that the row runs whole and in which no cell it can see is inexact.
  for (int32_t i : write) {
    RowState& r = row(i);
    const bool exact = r.exact && active.verdict(i) == Verdict::run && first_inexact(layer, r.sequence) > r.last_cell;
    if (r.exact && !exact && r.kept != nullptr) r.owe(layer - 1, buffers.state(i));
    r.exact = exact;
  }
}

void LayerLoop::settle(int32_t layer) {
  for (size_t i = 0; i < rows.size() && rows[i].settles != Settles::nothing; ++i) {  // they stand in front
    RowState& owing = rows[i];
    const auto index = static_cast<int32_t>(i);
    bool goes = owing.settles == Settles::all;
    for (int32_t r : active.running()) {
      goes |= row(r).settles == Settles::nothing && row(r).sequence == owing.sequence && !exits(active.verdict(r));
    }
    if (goes && owing.from == layer) {
      active.enter(index);
      owing.owes_from = -1;
    } else if (!goes && owing.owes_from < 0) {
      active.leave(index);
      owing.owe(layer, buffers.state(index));
    }
  }
}

void LayerLoop::mix(int32_t layer, int64_t first, int64_t n, std::span<const uint8_t> listened) {
  attention(pool, kernels, attention_args(layer, first), n, buffers.attention, listened);
}

void LayerLoop::add_to_state(std::span<const int32_t> which, bool norm_sum, const float* weight, const float* bias) {
  const int64_t n = std::ssize(which), d = config.d_model;
  if (weight != nullptr && !norm_sum) norm_heads(buffers.projected, n, d, weight);
  run_rows(pool, kernels.add, n, d, AddArgs{.y = buffers.projected, .index = which.data(), .cols = d, .x = buffers.x});
  if (!norm_sum) return;
  const bool in_place = consecutive(which);
  float* const states = in_place ? buffers.state(which.front()).data() : buffers.x;
  run_rows(pool, kernels.norm, n, d,
           NormArgs{.src = states,
                    .index = in_place ? nullptr : which.data(),
                    .cols = d,
                    .weight = weight,
                    .eps = config.norm_eps,
                    .dst = in_place ? states : buffers.projected,
                    .kind = config.norm,
                    .bias = bias});
  if (in_place) return;
  pool.run(n, [&](int64_t i) {
    std::copy_n(buffers.projected + i * d, d, buffers.state(which[static_cast<size_t>(i)]).data());
  });
}

void LayerLoop::answer(std::span<const int32_t> which, int32_t layer, LogitStats* stats, HotHead* list) {
  const ExitHeads::Exit* const exit = fitted != nullptr ? fitted->at(layer) : nullptr;
  const bool looks = list != nullptr;
  const Linear& weight = looks ? list->packed(pool) : hot != nullptr ? hot->packed(pool) : weights.head;
  const int64_t vocab = weight.matrix.rows;
  while (!which.empty()) {
    const auto piece = which.first(std::min<size_t>(which.size(), static_cast<size_t>(buffers.max_logit_rows)));
    const int32_t first_slot = row(piece[0]).slot;
    bool in_place = first_slot >= 0 && !looks;
    for (size_t i = 0; i < piece.size(); ++i) {
      in_place &= row(piece[i]).slot == first_slot + static_cast<int32_t>(i);
    }
    float* dst = in_place ? buffers.logits + first_slot * vocab : buffers.answers;
    const int64_t n = std::ssize(piece);
    exit != nullptr ? norm_exits(piece, *exit) : norm_rows(piece, weights.final_norm);
    const LinearJob job[] = {{&weight, n, dst, vocab}};
    if (screen != nullptr && in_place && stats == nullptr) {
      const auto slot = static_cast<size_t>(first_slot), n_slots = piece.size();
      screen->run(pool, activations(buffers.normed, config.d_model, job).quant, uses.subspan(slot, n_slots), dst, vocab,
                  reports.subspan(slot, n_slots));
    } else {
      product(buffers.normed, config.d_model, job);
    }
    if (stats != nullptr) {
      run_rows(pool, kernels.logit_stats, n, vocab, LogitStatsArgs{.logits = dst, .vocab = vocab, .dst = stats});
      for (int64_t i = 0; looks && i < n; ++i) stats[i].argmax = list->tokens()[static_cast<size_t>(stats[i].argmax)];
      stats += n;
    }
    for (int64_t i = 0; i < n; ++i) {
      RowState& answered = row(piece[static_cast<size_t>(i)]);
      answered.macs += work.head(vocab);
      if (!in_place && !looks && answered.slot >= 0) {
        std::memcpy(buffers.logits + answered.slot * vocab, dst + i * vocab,
                    static_cast<size_t>(vocab) * sizeof(float));
      }
    }
    which = which.subspan(piece.size());
  }
}

void LayerLoop::head() {
  std::span<int32_t> list(buffers.ids, rows.size());
  size_t n = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].predicts && !rows[i].answered) list[n++] = static_cast<int32_t>(i);
  }
  // Rows that left where something was fitted are answered by that, layer by layer.
  const auto fitted_at = [&](int32_t r) {
    return fitted != nullptr && fitted->at(row(r).left_at) != nullptr ? row(r).left_at : kStays;
  };
  const auto all = list.first(n);
  std::sort(all.begin(), all.end(),
            [&](int32_t a, int32_t b) { return fitted_at(a) != fitted_at(b) ? fitted_at(a) < fitted_at(b) : a < b; });
  for (auto from = all.begin(); from != all.end();) {
    const auto to = std::find_if(from, all.end(), [&](int32_t r) { return fitted_at(r) != fitted_at(*from); });
    answer({from, to}, fitted_at(*from), nullptr);
    from = to;
  }
}

}  // namespace fathom
