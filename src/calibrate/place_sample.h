// Places of texts that are asked for answers by what is fitted: heads are what calibration's time goes into, so there
// is a most. Where policies are compared with full depth is another question: PieceText::compared(). Next in the flow:
// src/calibrate/exit_collectors.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/calibrate/piece_runner.h"

namespace fathom {

/// Evenly over the first texts of each group, of which as many are asked as have 16 of its most / groups places each:
/// heads of fewer rows at a time waste the kernels, and a text that is not asked need not be run.
///   returns  [texts] places, rising; the same for the same texts
std::vector<std::vector<int32_t>> spread_places(std::span<const PieceText* const> texts, size_t n_groups, int64_t most);

/// All places of the first texts of each group, until a group has most / groups; of its first text in any case.
///   returns  [texts] places, rising
std::vector<std::vector<int32_t>> first_places(std::span<const PieceText* const> texts, size_t n_groups, int64_t most);

}  // namespace fathom
