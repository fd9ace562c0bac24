// Boundary: what happens between two layers. Signals are computed where the policy reads them and nowhere else, all
// rows are decided in one call, and what was seen and said goes to the trace. Next in the flow: engine/layer_loop.h.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "fathom/engine/active_set.h"
#include "fathom/engine/token_set.h"
#include "fathom/ops/kernel_table.h"
#include "fathom/policy/policy.h"
#include "fathom/trace/trace.h"

namespace fathom {

struct LayerLoop;
class LabelHeads;

/// The two halves of a layer.
enum class Half : uint8_t { attention, feed_forward };

/// What a row's sequence brought along from its earlier generated rows.
struct SequenceHistory {
  double macs = 0;                                               // multiply-adds of its generated rows
  double full_macs = 0;                                          // the same at full depth
  float last_entropy = std::numeric_limits<float>::quiet_NaN();  // of its last prediction, nats; NaN before the first
  float margins[kLastMargins] = {last_entropy, last_entropy, last_entropy,
                                 last_entropy};  // of the last ones, from the
                                                 // last on; NaN: there is none

  /// The largest margin of the last n predictions; NaN where there were fewer.
  float last_margin(int n) const noexcept {
    float most = margins[0];
    for (int i = 1; i < n; ++i) most = margins[i] > most || margins[i] != margins[i] ? margins[i] : most;
    return most;
  }
  void predicted(float margin) noexcept {
    for (int i = kLastMargins - 1; i > 0; --i) margins[i] = margins[i - 1];
    margins[0] = margin;
  }
};

class Boundary {
 public:
  /// Prepares for a step. `policy` may be empty; then every row runs every layer and nothing is asked.
  void begin(PolicyRef policy, Trace* trace, int32_t n_layers, std::span<const RowState> rows,
             std::span<const SequenceHistory> history);

  /// Asks the policy about layer `layer + 1`; `layer` layers are behind the rows.
  void decide(LayerLoop& loop, int32_t layer);

  /// Whether the next boundary reads where attention went.
  bool reads_attention() const { return next_.has(Signal::attention_received) || tokens_.reads_attention(next_); }

  /// Keeps and compares states around a half where the next boundary reads a similarity.
  void before_half(LayerLoop& loop, Half half);
  void after_half(LayerLoop& loop, Half half, std::span<const int32_t> ran);

 private:
  SignalSet read(int32_t layer, RowKind kind) const;  // by the policy, for rows of the step
  SignalSet wanted(const LayerLoop& loop, int32_t layer, RowKind kind) const;
  void check_answers(LayerLoop& loop, int32_t layer);
  // The same of an encoder's label heads, boundary_labels.cc:
  void check_labels(LayerLoop& loop, int32_t layer);
  void leave_together(const LayerLoop& loop);
  void sort_by_text(const LayerLoop& loop);
  int32_t text_of(const LayerLoop& loop, int32_t place) const;
  void ask_router(LayerLoop& loop, int32_t layer);
  void confirm(LayerLoop& loop, int32_t layer, const SignalSet (&reads)[2]);
  void tell_answer(const LayerLoop& loop, int32_t layer, int32_t r, const LogitStats& stats, Step& step) const;
  void look_back(LayerLoop& loop, int32_t layer);  // diversity, and the states that it is measured from
  void look_inside(LayerLoop& loop);               // attention received
  void price(const LayerLoop& loop, SignalSet read, const Step& step, RowState& row) const;
  void recall(const LayerLoop& loop, const RowState& row, SignalSet reads, Step& step) const;
  void describe(const LayerLoop& loop, int32_t layer, const RowState& row, Step& step) const;
  void finish(const LayerLoop& loop, int32_t layer, const RowState& row, SignalSet mine, Step& step) const;
  void compare(LayerLoop& loop, const float* before);  // cosines of all states with `before` into buffers.compared

  PolicyRef policy_;
  Trace* trace_ = nullptr;
  int32_t n_layers_ = 0;
  int32_t layer_ = 0;      // of the last boundary
  bool has_kind_[2] = {};  // some row of the step is a prompt row, a generated row
  SignalSet next_;         // what the coming boundary reads, over all kinds present
  std::span<const SequenceHistory> history_;
  std::vector<Step> steps_;      // [rows] signals gather here until the boundary
  std::vector<Step> asked_;      // [asking]
  std::vector<Decision> said_;   // [asking]
  std::vector<int32_t> asking_;  // running rows that the policy decides about
  std::vector<int32_t> sequences_, checked_, places_, cells_;
  std::vector<int32_t> by_text_;    // places in asking_, by text
  std::vector<int32_t> confirmed_;  // places in asking_ of rows that a shortlist would let go
  std::vector<Step> again_;         // [confirmed_] what the whole head says of them
  std::vector<Decision> finally_;   // [confirmed_]
  TokenSet tokens_;                 // of an encoder's texts
  std::vector<bool> ran_;           // [rows] ran some half of the last layer
};

}  // namespace fathom
