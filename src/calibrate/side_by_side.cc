// SideBySide: rows of different sequences share a step, which changes none of them.
#include "src/calibrate/side_by_side.h"

#include <cmath>

#include "fathom/ops/rows.h"

namespace fathom {

Result<SideBySide> SideBySide::make(const Model& model, const Adaptation& fitted, int32_t sequences, int32_t tokens,
                                    int32_t owed, int threads) {
  FATHOM_TRY(Session session, Session::make(model, {.max_tokens = tokens + 1,
                                                    .max_sequences = sequences,
                                                    .max_rows = sequences * (owed + 1),
                                                    .max_logit_rows = sequences,
                                                    .threads = threads}));
  FATHOM_TRY(fitted.attach(session));
  return SideBySide(std::move(session));
}

Result<void> SideBySide::begin() {
  const Tokenizer& tokenizer = session_.model().tokenizer();
  rows_.clear();
  for (int32_t s = 0; s < sequences(); ++s) {
    FATHOM_TRY(session_.truncate(s, 0));
    rows_.push_back({.token = tokenizer.bos(), .sequence = s});
  }
  if (tokenizer.adds_bos()) FATHOM_TRY(session_.step(rows_));
  return {};
}

Result<SideStep> SideBySide::step(std::span<const int32_t> tokens, const Policy& policy) {
  rows_.clear();
  for (int32_t s = 0; s < sequences(); ++s) {
    rows_.push_back({.token = tokens[size_t(s)],
                     .sequence = s,
                     .position = session_.length(s),
                     .kind = RowKind::generated,
                     .logits = true});
  }
  FATHOM_TRY(const StepResult result, session_.step(rows_, policy.ref()));
  stats_.resize(rows_.size());
  run_rows(session_.pool(), session_.kernels().logit_stats, std::ssize(rows_), result.logits.dim(1),
           LogitStatsArgs{.logits = result.logits.data(), .vocab = result.logits.dim(1), .dst = stats_.data()});
  for (const LogitStats& stats : stats_) {
    if (std::isfinite(stats.max) && std::isfinite(stats.log_sum)) continue;
    return Error{ErrorCode::format, "the logits hold no number: the model file is damaged"};
  }
  return SideStep{result.rows, result.settled, stats_, result.logits};
}

Result<void> SideBySide::back() {
  for (int32_t s = 0; s < sequences(); ++s) FATHOM_TRY(session_.truncate(s, session_.length(s) - 1));
  return {};
}

}  // namespace fathom
