// Candidates of a certificate: which of an order, from the safest to the boldest, are worth a run. Next in the flow:
// src/calibrate/exit_trials.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace fathom {

/// Of the risk that proposals aim at: a bound stands above the mean that it bounds.
inline constexpr double kProposalRoom = 0.6;

/// Share of what full depth reads or multiplies above which a setting is not worth a trial.
inline constexpr double kWorthTrying = 0.98;

/// Adds n candidates around the one that is forecast to be best: safer ones, which surely pass, and bolder ones, since
/// a bound may turn out closer.
///   wanted   [candidates] safest first, at least n
inline void want_around(std::vector<bool>& wanted, size_t best, size_t n) {
  const size_t safer = std::min(best, n * 2 / 3);
  const size_t first = std::min(best - safer, wanted.size() - n);
  std::fill_n(wanted.begin() + std::ptrdiff_t(first), n, true);
}

}  // namespace fathom
