// Fitting KV translators: from the state at an exit to what each layer above would read, so that cells filled from it
// are nearer to those of full depth. Next in the flow: src/calibrate/fill_trial.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/head/exit_heads.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// How far from what a layer reads at full depth its filled cells' inputs are, on held-out rows: the root mean square
/// of the difference over that of the input, both over their root mean squares and weighted as the layer's norm does.
struct FillQuality {
  int32_t exit = 0, layer = 0;
  double plain = 0;       // of the exit's own state
  double translated = 0;  // of what is made of it
};

struct FillFit {
  std::vector<std::vector<FittedFill>> fills;  // [exits] by layer; where none is nearer, there is none
  std::vector<FillQuality> quality;            // of all that were fitted
};

/// Bytes that a row which leaves at an exit reads of its KV translators.
double fill_bytes(std::span<const FittedFill> fills);

/// A map of low rank for each exit and each layer above the next: ridge regression, its penalty by the held-out rows.
///   fit, held_out   pieces; what stands in front of a piece is left out
///   exits           layers behind which rows leave, rising
///   returns         no translators where states or feed-forward halves are too narrow for a low rank
///   errors          argument: no rows on a side, a state that is not finite; those of runs
///   cost            passes over the pieces at full depth without a head, one for as many pairs of exit and layer as
///                   kMomentBytes hold; three ridge solutions and one of low rank for each pair, threads side by side
///   memory          36 d^2 bytes a pair, kMomentBytes together unless one pair takes more
Result<FillFit> fit_fills(PieceRunner& runner, std::span<const PieceText* const> fit,
                          std::span<const PieceText* const> held_out, std::span<const int32_t> exits,
                          Progress& progress);

inline constexpr double kMomentBytes = 768e6;

}  // namespace fathom
