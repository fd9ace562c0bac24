// Temperatures of exit heads, from log-sum-exp values at a few inverse temperatures in place of whole logits.
// Next in the flow: calibrate/logistic.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/result.h"

namespace fathom {

/// Inverse temperatures beta at which a collector computes log sum exp(beta * logits): T from 4 to 1/4.
inline constexpr std::array<float, 9> kTemperatureBetas = {0.25f,       0.35355339f, 0.5f,        0.70710678f, 1.0f,
                                                           1.41421356f, 2.0f,        2.82842712f, 4.0f};

/// What is left of logits once they are gone.
struct TemperatureRows {
  std::span<const float> betas = kTemperatureBetas;  // [k] above 0, rising, 4 or more, from at most 1 to at least 1
  std::span<const float> target;                     // [n] logit of the token that was right
  std::span<const float> lse;                        // [n, k] log sum over the vocabulary of exp(betas[k] * logit)
  std::span<const int32_t> cell = {};                // [n] exit and group of a row as one number; empty: all in cell 0
};

struct TemperatureFit {
  float temperature = 1;  // divides logits
  double nll_before = 0;  // mean negative log-likelihood at T = 1, nats; NaN for a cell without rows
  double nll_after = 0;   // at `temperature`; never above nll_before
  int64_t n = 0;          // rows of the cell
  bool at_edge = false;   // the best lies at an end of the grid or beyond
};

/// For each cell the temperature of least mean negative log-likelihood. A row's loss at beta is lse(beta) - beta *
/// target, so a cell's mean is known at the grid; between its points it is a cubic spline in log beta ("not a knot" at
/// the ends), whose minimum is exact. Interpolation errors seen at the default grid
/// (tests/calibrate/temperature_test.cc; logits normal, heavy-tailed, dominated by one token): in T 0.13 % between 0.45
/// and 1.7, 1.3 % at 3.3; in the loss 0.0009 nats.
///   n_cells  cells to fit; one without rows keeps T = 1
///   errors   argument: a value that is not finite (by row and column), a grid that is not as above, a cell outside
///            [0, n_cells), a row whose lse is below its own target's term; shape: sizes that do not fit
///   cost     n k additions
///   source   Guo, Pleiss, Sun, Weinberger 2017 (temperature scaling); de Boor 1978, chapter 4 (the spline)
FATHOM_API Result<std::vector<TemperatureFit>> fit_temperatures(const TemperatureRows& rows, int32_t n_cells = 1);

}  // namespace fathom
