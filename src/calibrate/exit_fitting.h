// Fitting exits: translators from states to the last layer's, temperatures, and P(agrees with full depth).
// Next in the flow: src/calibrate/exit_trials.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/calibrate/parts.h"
#include "fathom/core/result.h"
#include "fathom/head/exit_heads.h"
#include "src/calibrate/exit_trials.h"
#include "src/calibrate/translator_fitting.h"

namespace fathom {

/// Layers for which exits are fitted: at most n, evenly over the upper three quarters.
std::vector<int32_t> exit_layers(int32_t n_layers, int32_t n);

/// How a temperature did on the pieces that it was fitted on.
struct TemperatureRecord {
  int32_t layer = 0;
  int32_t group = 0;  // the number of groups: all together
  double temperature = 1, nll_before = 0, nll_after = 0;
};

struct FittedRecord {
  FittedExits exits;
  std::vector<std::array<double, kTranslatorKinds>> agreement;  // [exits] of each kind, held out; NaN: not fitted
  std::vector<TemperatureRecord> temperatures;
  ExitTrials trials;  // at the places that gave maps
};

/// Exits as in a sidecar: translators are rounded as they are run.
template <class P>
void pack(P& p, FittedRecord& record) {
  std::vector<std::byte> exits = parts_bytes(record.exits);
  p(exits), p(record.agreement), p(record.temperatures), p(record.trials);
  if constexpr (std::is_same_v<P, Unpacker>) {
    Result<FittedExits> read = read_parts(exits);
    if (!read) return p.fail();
    record.exits = std::move(*read);
  }
}

/// Translators by ridge regression on two of three pieces, lambda by the third, which then gives temperatures and maps:
/// what leaving keeps, 1 less the runner's loss.
///   texts    of Split::fit
///   errors   argument: a group without two pieces; those of runs and fits
///   cost     a pass over the texts without a head; passes over those that are asked, with heads of full depth and of
///            each exit, for at most 1,024 places for each kind of translator and for temperatures, 8,192 for probes
///            and 8,192 for maps (spread_places()). The runner uses the exits
Result<FittedRecord> fit_exits(PieceRunner& runner, std::span<const PieceText> texts,
                               std::span<const std::string> groups, std::span<const int32_t> layers,
                               Progress& progress);

}  // namespace fathom
