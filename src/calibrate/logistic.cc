// Newton's method for logistic loss, routers fitted by it, and AUC.
#include "fathom/calibrate/logistic.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "src/calibrate/newton.h"

namespace fathom {

namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

struct Loss {
  double log_loss = 0, objective = 0;
  VectorXd gradient;  // [f + 1]
  MatrixXd hessian;   // [f + 1, f + 1], lower half
};

// The loss at some weights; its derivatives too where `derivatives` says so.
Loss evaluate(const LogisticProblem& p, const VectorXd& w, bool derivatives) {
  const Index f = p.mean.size(), n = static_cast<Index>(p.targets.size());
  const auto x = as_rows(p.features, f);
  Loss loss;
  loss.gradient = VectorXd::Zero(f + 1);
  loss.hessian = MatrixXd::Zero(f + 1, f + 1);
  VectorXd row(f + 1);
  row[f] = 1;
  for (Index i = 0; i < n; ++i) {
    row.head(f) = (x.row(i).transpose().cast<double>() - p.mean).cwiseProduct(p.inverse);
    const double z = row.dot(w), target = p.targets[static_cast<size_t>(i)];
    loss.log_loss += softplus(z) - target * z;
    if (!derivatives) continue;
    const double q = sigmoid(z);
    loss.gradient += (q - target) * row;
    loss.hessian.selfadjointView<Eigen::Lower>().rankUpdate(row, q * (1 - q));
  }
  const double rows = static_cast<double>(n);
  loss.log_loss /= rows;
  loss.objective = loss.log_loss + 0.5 * p.l2 * w.head(f).squaredNorm();
  loss.gradient = loss.gradient / rows;
  loss.gradient.head(f) += p.l2 * w.head(f);
  loss.hessian /= rows;
  loss.hessian.diagonal().head(f).array() += p.l2;
  loss.hessian.diagonal().array() += 1e-12;  // constant features, and a bias so sure that its curvature is gone
  return loss;
}

}  // namespace

LogisticProblem standardised(std::span<const float> features, int64_t n_features, std::span<const double> targets,
                             double l2) {
  const auto x = as_rows(features, n_features);
  const double n = static_cast<double>(x.rows());
  VectorXd mean = VectorXd::Zero(n_features), square = mean, largest = mean;
  for (Index i = 0; i < x.rows(); ++i) mean += x.row(i).transpose().cast<double>();
  mean /= n;
  for (Index i = 0; i < x.rows(); ++i) {
    const VectorXd row = x.row(i).transpose().cast<double>();
    square += (row - mean).cwiseAbs2();
    largest = largest.cwiseMax(row.cwiseAbs());
  }
  VectorXd inverse(n_features);
  for (Index j = 0; j < n_features; ++j) {
    inverse[j] = inverse_deviation(square[j] / n, largest[j]);
  }
  return {.features = features, .targets = targets, .mean = mean, .inverse = inverse, .l2 = l2};
}

LogisticSolution minimise(const LogisticProblem& problem) {
  LogisticSolution s;
  s.weights = VectorXd::Zero(problem.mean.size() + 1);
  for (;; ++s.steps) {
    const Loss here = evaluate(problem, s.weights, true);
    s.log_loss = here.log_loss;
    s.gradient = here.gradient.cwiseAbs().maxCoeff();
    s.converged = s.gradient <= 1e-9;
    if (s.converged || s.steps == 100) return s;
    const VectorXd step = -here.hessian.ldlt().solve(here.gradient);
    const double slope = here.gradient.dot(step), rounding = 1e-15 * (1 + here.objective);
    double length = 1;
    for (int halvings = 0; halvings < 40; ++halvings, length *= 0.5) {
      const double there = evaluate(problem, s.weights + length * step, false).objective;
      if (there <= here.objective + 1e-4 * length * slope + rounding) break;
    }
    s.weights += length * step;
  }
}

float LogisticFit::operator()(std::span<const float> features) const {
  FATHOM_ASSERT(features.size() == weights.size());
  double z = bias;
  for (size_t j = 0; j < weights.size(); ++j) z += double{weights[j]} * features[j];
  return static_cast<float>(sigmoid(z));
}

Result<LogisticFit> fit_logistic(std::span<const float> features, std::span<const uint8_t> labels,
                                 const LogisticOptions& options) {
  if (labels.empty()) return Error{ErrorCode::argument, "labels: no rows: pass some"};
  if (features.empty() || features.size() % labels.size() != 0) {
    return Error{ErrorCode::shape,
                 fmt::format("features: {} values for {} rows: pass [n, f]", features.size(), labels.size())};
  }
  if (!(options.l2 > 0) || !std::isfinite(options.l2)) {
    return Error{ErrorCode::argument, fmt::format("LogisticOptions::l2 {}: pass a value above 0", options.l2)};
  }
  const size_t n = labels.size(), f = features.size() / n;
  FATHOM_TRY(check_rows("features", features, static_cast<int64_t>(f)));
  FATHOM_TRY(check_labels("labels", labels, n));
  const auto ones = std::count(labels.begin(), labels.end(), uint8_t{1});
  const double share = (static_cast<double>(ones) + 1) / (static_cast<double>(n) + 2);
  LogisticFit fit{.weights = std::vector<float>(f), .bias = static_cast<float>(std::log(share / (1 - share)))};
  if (ones == 0 || ones == static_cast<std::ptrdiff_t>(n)) {
    fit.log_loss = -std::log(std::max(share, 1 - share));
    return fit;
  }
  const std::vector<double> targets(labels.begin(), labels.end());
  const LogisticProblem problem = standardised(features, static_cast<int64_t>(f), targets, options.l2);
  const LogisticSolution solution = minimise(problem);
  if (!solution.converged) {
    return Error{ErrorCode::argument, fmt::format("fit_logistic: gradient {:.2g} after {} steps: raise l2 above {}",
                                                  solution.gradient, solution.steps, options.l2)};
  }
  double bias = solution.weights[static_cast<Index>(f)];
  for (size_t j = 0; j < f; ++j) {
    const auto at = static_cast<Index>(j);
    fit.weights[j] = static_cast<float>(solution.weights[at] * problem.inverse[at]);
    bias -= double{fit.weights[j]} * problem.mean[at];  // with the weight as it was rounded
  }
  fit.bias = static_cast<float>(bias);
  fit.log_loss = solution.log_loss;
  fit.steps = solution.steps;
  return fit;
}

Result<double> auc(std::span<const float> scores, std::span<const uint8_t> labels) {
  FATHOM_TRY(check_labels("labels", labels, scores.size()));
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) return Error{ErrorCode::argument, fmt::format("scores: row {} is nan: leave it out", i)};
  }
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  double wins = 0;  // pairs won by class 1, halves of ties among them; exact below 2^53 pairs
  double zeros_below = 0, ones_below = 0;
  for (size_t at = 0; at < order.size();) {
    double zeros = 0, ones = 0;
    const float score = scores[order[at]];
    for (; at < order.size() && scores[order[at]] == score; ++at) (labels[order[at]] == 1 ? ones : zeros) += 1;
    wins += ones * (zeros_below + 0.5 * zeros);
    zeros_below += zeros;
    ones_below += ones;
  }
  if (zeros_below == 0 || ones_below == 0) return std::numeric_limits<double>::quiet_NaN();
  return wins / (zeros_below * ones_below);
}

}  // namespace fathom
