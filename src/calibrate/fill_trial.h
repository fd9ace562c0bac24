// What KV translators are worth: the composed policy with and without them, on pieces that they were not fitted on.
// Next in the flow: src/calibrate/certificates.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/calibrate/exit_trials.h"
#include "src/calibrate/fill_fitting.h"

namespace fathom {

/// By how much losses fall: mean over units of what their texts lose less, and its standard error.
struct FillGain {
  double mean = 0, error = 0;
  int64_t units = 0;

  /// More than noise: two standard errors.
  bool is_sure() const { return units > 1 && mean > 2 * error; }
};
///   before, after, units   [texts]; texts of one unit depend on one another
FillGain gain_of(std::span<const float> before, std::span<const float> after, std::span<const int64_t> units);

/// What a policy lost and did: mean loss over groups, share of full depth's multiply-adds.
struct FillRun {
  double loss = 0, work = 1;
};

struct FillRecord {
  FillFit fitted;
  std::string policy = {};  // by which both were run; empty: nothing was
  double exact = 0;         // its loss by states at full depth: what exact cells would leave of it
  FillRun plain, translated;
  FillGain gain;
  bool kept = false;
};

template <class P>
void pack(P& p, FittedFill& fill) {
  p(fill.layer), p(fill.down), p(fill.up), p(fill.bias);
}
template <class P>
void pack(P& p, FillRecord& record) {
  p(record.fitted.fills), p(record.fitted.quality), p(record.policy), p(record.exact), p(record.plain);
  p(record.translated), p(record.gain), p(record.kept);
}

/// Fits KV translators on two pieces of three of each group, and runs the boldest setting that is proposed on the third
/// without them and with them. They are kept where that surely lowers its losses.
///   texts    of Split::fit
///   exits    those that the proposal uses. The runner's session uses them, with or without KV translators, afterwards
///   cost     fit_fills(), and three passes over a third of the texts with heads
Result<FillRecord> try_fills(PieceRunner& runner, std::span<const PieceText* const> texts, const Proposal& proposal,
                             const FittedExits& exits, Progress& progress);

/// The exits with their KV translators.
FittedExits with_fills(FittedExits exits, const FillFit& fitted);

}  // namespace fathom
