// Logistic regression: routers and predicted utility; and AUC, which says whether a score is worth a threshold.
// Next in the flow: calibrate/agreement.h, which turns a score into a probability.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/result.h"

namespace fathom {

struct LogisticOptions {
  float l2 = 1e-3f;  // of the mean loss, on weights of standardised features; the bias is free
};

/// P(1) = sigmoid(features . weights + bias), in the features' raw units.
struct LogisticFit {
  std::vector<float> weights;  // [f]; 0 for a feature that is constant
  float bias = 0;
  double log_loss = 0;  // mean over the rows, nats, without the penalty
  int32_t steps = 0;    // Newton's

  /// P(1) of one row.
  ///   features   [f]
  FATHOM_API float operator()(std::span<const float> features) const;
};

/// Minimises mean log loss + l2 / 2 * |w|^2 over standardised features by Newton's method (iteratively reweighted least
/// squares) with a line search, until no component of the gradient exceeds 1e-9. The penalty keeps separable labels
/// finite. Where only one class is there, weights are 0 and the bias is that of (n1 + 1) / (n + 2).
///   features   [n, f]
///   labels     [n]   0 or 1
///   errors     argument: no rows, a value that is not finite (by row and column), a label that is neither, l2 not
///   above
///              0, or no convergence in 100 steps; shape: sizes that do not fit
///   cost       about 10 steps of n (f^2 + 20) operations and f^3 / 3; memory 8 f^2 bytes
FATHOM_API Result<LogisticFit> fit_logistic(std::span<const float> features, std::span<const uint8_t> labels,
                                            const LogisticOptions& options = {});

/// The chance that a row of class 1 scores above a row of class 0, equal scores counting half.
///   returns  NaN where a class is missing
///   errors   shape; argument: a score that is NaN (by row), a label that is neither 0 nor 1
///   cost     a sort
///   source   Mann, Whitney 1947, from mid-ranks
FATHOM_API Result<double> auc(std::span<const float> scores, std::span<const uint8_t> labels);

}  // namespace fathom
