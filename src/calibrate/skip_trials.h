// SkipTrials: sets of parts that may be left out together, from a profile, and what the best of them could save.
// Next in the flow: src/calibrate/settings.h, which certifies them.
#pragma once

#include <cstdint>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/layer_profile.h"

namespace fathom {

struct SkipTrials {
  std::vector<Ablation> sets;   // that keep the risk on the profile's texts; each holds the one before it
  double cheapest = 1;          // mean loss of the most harmless part, in its worst group,
  std::string cheapest_policy;  // and which that is
};

/// Adds parts step by step: of what the profile forecasts to keep the risk (losses of parts alone
/// add up, to at most 1), the few that save most for each changed token are run together with what is left out already,
/// and the best is kept. Heads are added in bundles of those that change least.
///   cost     at most 24 runs over the profile's texts
Result<SkipTrials> try_skips(PieceRunner& runner, const LayerProfile& profile, double risk, Progress& progress);

/// The sets of trials that save something worth a certificate, safest first, at most so many.
std::vector<CalibratedSetting> skip_settings(const LayerProfile& profile, const SkipTrials& trials, int32_t n_settings);

/// A skip that knows, on the texts that all parts have: each place leaves out the largest of the sets that were run
/// whole (single parts and trials) which loses at most `risk` there; where losses are of tokens, does not change its
/// answer.
///   returns  [groups] bytes of a row over those of full depth
std::vector<double> oracle_skip(const LayerProfile& profile, const SkipTrials& trials, double risk);

}  // namespace fathom
