// Pieces that are kept from a fit: one of three of each group, in the order of its pieces. What is fitted in several
// steps keeps the same ones from each. Next in the flow: src/calibrate/exit_fitting.h.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "src/calibrate/piece_runner.h"

namespace fathom {

/// [texts] whether a piece is kept.
std::vector<bool> held_out(std::span<const PieceText* const> texts, size_t n_groups);

/// The same as two lists.
struct FitSplit {
  std::vector<const PieceText*> fit, held_out;
};
FitSplit split_for_fit(std::span<const PieceText* const> texts, size_t n_groups);

}  // namespace fathom
