// What a Session holds, and the steps of a step: admission, the layer loop, the books.
// Next in the flow: session_admission.cc, then session.cc.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fathom/engine/layer_loop.h"
#include "fathom/engine/session.h"
#include "fathom/head/screened_head.h"
#include "src/engine/row_costs.h"

namespace fathom {

inline constexpr int32_t kNever = std::numeric_limits<int32_t>::max();

struct Session::Impl {
  /// What a position leaves behind for the policies of rows to come.
  struct Past {
    RowKind kind;
    double macs, full_macs;
    float entropy = std::numeric_limits<float>::quiet_NaN();  // of its prediction; NaN where it made none, or nobody
    float margin = std::numeric_limits<float>::quiet_NaN();   // asked
    SequenceHistory after;                                    // of the sequence with this position
    int32_t generated;                                        // generated rows of the sequence with this position
  };
  /// What a sequence is between steps.
  struct Sequence {
    std::vector<int32_t> tokens;              // by position
    std::vector<Past> past;                   // by position
    const SampleOptions* sampling = nullptr;  // what its logits are for; null: anything
    int64_t number = 0;                       // the caller's
    std::vector<RowState> owing;              // rows that owe layers: the last positions, ascending

    // Of the step being admitted:
    int32_t pending = 0;  // rows
    int32_t pending_generated = 0;
    int32_t entered = 0;                 // generated rows so far
    Settles settles = Settles::nothing;  // what its owing rows do

    int32_t length() const { return static_cast<int32_t>(tokens.size()); }
    int32_t generated() const { return past.empty() ? 0 : past.back().generated; }
  };
  /// How a step treats its rows.
  struct Plan {
    PolicyRef policy;
    KvMode kv = KvMode::fill;
    int32_t max_owing = 0;     // rows of a sequence that may owe
    int32_t hot_tokens = 0;    // of the shortlist that answers in place of the head; 0: none
    bool in_turn = false;      // they settle when so many owe, and not where a deeper row passes
    bool screens = false;      // the head's bounds rule tokens out
    int32_t check_tokens = 0;  // of the shortlist that exit checks look at first; 0: none
    HeadSet silent = {};       // heads that Verdict::silence_heads is about
    float silent_factor = 0;
    std::span<const int32_t> only = {};  // sequences that settle; empty: all
    bool noise = false;                  // tokens of some class are alike
    bool by_words = false;               // texts may leave before the first layer, which label heads say
    bool settles_all = false;  // every row that owes runs to full depth and predicts; the policy decides nothing

    /// Rows answer from the shortlist.
    bool defers() const { return hot_tokens > 0 && !settles_all; }
  };

  Model model;
  SessionOptions options;
  KernelTable kernels;
  WorkModel work;
  ThreadPool pool;
  KvCache cache;
  StepBuffers buffers;
  ActiveSet active;
  Boundary boundary;
  std::optional<HotHead> hot;     // once a policy has asked for it
  std::optional<HotHead> checks;  // of `exits`
  std::optional<ScreenedHead> screen;
  std::optional<SilencedHeads> silenced;
  std::optional<RowCosts> row_costs;
  std::shared_ptr<const ExitHeads> exits;
  int32_t group = 0;  // of `exits`
  std::shared_ptr<const Routers> routers;
  std::shared_ptr<const LabelHeads> labels;
  StateHistory states;
  std::vector<TokenClass> token_classes;  // [vocab] once a policy has asked for it
  LayerObserver* observer = nullptr;      // of calibration
  std::vector<LogitUse> uses;             // [rows with logits]
  std::vector<ScreenReport> reports;      // [rows with logits]
  std::vector<Sequence> sequences;
  std::vector<SequenceHistory> history;  // [sequences]
  std::vector<int32_t> inexact_from;     // [sequences, n_layers]
  std::vector<RowState> rows;            // those that settle, then the caller's
  size_t n_settling = 0;                 // in front of `rows`
  std::vector<RowResult> results;        // [rows]
  std::vector<TraceRow> traced;
  std::vector<int32_t> watched;  // tokens that the whole head ranks high
  int64_t n_logits = 0;          // rows of logits of the step
  int64_t width = 0;             // of one

  std::span<const float> logits(int32_t slot) const {
    return {buffers.logits + slot * width, static_cast<size_t>(width)};
  }
  Sequence& sequence(int32_t i) { return sequences[static_cast<size_t>(i)]; }
  LayerLoop loop();
  Result<void> check(std::span<const Row> step) const;
  Result<void> check_fitted(const Plan& plan) const;
  Result<void> check_encoder(const Plan& plan) const;
  Plan plan(PolicyRef policy) const;
  Result<void> admit(std::span<const Row> step, const Plan& plan);
  Result<void> check_order(std::span<const Row> step, const Plan& plan);
  Settles joining(int32_t i, const Plan& plan) const;
  Result<void> check_room(std::span<const Row> step, const Plan& plan);
  Result<StepResult> run(std::span<const Row> step, const Plan& plan, Trace* trace);
  bool reads(PolicyRef policy, SignalSet signals) const;
  void tell(Trace& trace);
  void conclude(const Plan& plan);
  Result<void> prepare_hot(std::span<const Row> step, const Plan& plan);
  Result<void> prepare_screen(const Plan& plan);
  Result<void> prepare_checks(const Plan& plan);
  Result<void> prepare_silent(const Plan& plan);
  Result<void> prepare_states(std::span<const Row> step, const Plan& plan);
  void say_uses(const Plan& plan);
  HeadWay way_of(const RowState& row, const Plan& plan) const;
  void watch_head();
  void look_at(int32_t slot, bool remembered, Past& past);
  static RowState owing(const RowState& row);
  void book(int32_t sequence_idx, int32_t position);
};

}  // namespace fathom
