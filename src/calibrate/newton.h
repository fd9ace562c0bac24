// Penalised logistic loss with soft targets and its minimum; what fit_logistic and Platt's map share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/calibrate/matrix.h"

namespace fathom {

/// Rows are standardised as they are read, (x - mean) * inverse, so no copy of them is made.
struct LogisticProblem {
  std::span<const float> features;  // [n, f]
  std::span<const double> targets;  // [n] in [0, 1]
  Eigen::VectorXd mean, inverse;    // [f]; inverse 0 for a constant feature
  double l2 = 0;                    // not on the bias
};

/// 1 / deviation of a feature; 0 where it is constant: the deviation is below the rounding of its values.
///   variance   of them
///   largest    magnitude among them
inline double inverse_deviation(double variance, double largest) {
  const double deviation = std::sqrt(variance);
  return deviation > std::max(1e-7 * largest, 1e-30) ? 1 / deviation : 0;
}

/// Standardises by the features' own means and standard deviations. A feature whose deviation is below the rounding of
/// its values is constant.
LogisticProblem standardised(std::span<const float> features, int64_t n_features, std::span<const double> targets,
                             double l2);

struct LogisticSolution {
  Eigen::VectorXd weights;  // [f + 1], the bias last, for standardised features
  double log_loss = 0;      // without the penalty
  double gradient = 0;      // its largest component
  int32_t steps = 0;
  bool converged = false;
};

/// Newton's method with backtracking (Armijo), from weights 0.
LogisticSolution minimise(const LogisticProblem& problem);

/// log(1 + e^z), for any z.
inline double softplus(double z) { return (z > 0 ? z : 0) + std::log1p(std::exp(-std::abs(z))); }
inline double sigmoid(double z) {
  const double e = std::exp(-std::abs(z));
  return (z >= 0 ? 1 : e) / (1 + e);
}

}  // namespace fathom
