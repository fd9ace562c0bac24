// L-BFGS over a linear model's weights, in double precision.
#include "fathom/classify/label_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include "src/calibrate/newton.h"

namespace fathom {
namespace {

using Vector = std::vector<double>;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Weights = Eigen::Map<const Matrix>;

double dot(const Vector& a, const Vector& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

/// Cross-entropy of one row; `probability` becomes what the logits say.
double row_loss(std::span<const double> logits, std::span<const float> targets, bool several,
                std::span<double> probability) {
  double loss = 0;
  if (several) {
    for (size_t c = 0; c < logits.size(); ++c) {
      const double target = targets[c];
      probability[c] = sigmoid(logits[c]);
      loss += target * softplus(-logits[c]) + (1 - target) * softplus(logits[c]);
    }
    return loss;
  }
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (size_t c = 0; c < logits.size(); ++c) sum += probability[c] = std::exp(logits[c] - most);
  for (size_t c = 0; c < logits.size(); ++c) {
    probability[c] /= sum;
    loss += double{targets[c]} * (most + std::log(sum) - logits[c]);
  }
  return loss;
}

/// The objective over weights [labels, features] and then bias [labels]; dense features as (x - mean) / deviation.
class Objective {
 public:
  Objective(const FeatureRows& rows, std::span<const float> targets, int32_t labels, const LabelFitOptions& options)
      : rows_(rows), targets_(targets), labels_(static_cast<size_t>(labels)), options_(options) {
    const auto f = static_cast<size_t>(rows.features);
    mean_.assign(f, 0.0);
    scale_.assign(f, 1.0);
    if (rows.dense.empty()) return;
    const auto n = static_cast<double>(rows.n);
    Vector square(f, 0.0);
    for (size_t i = 0; i < rows.dense.size(); ++i) mean_[i % f] += rows.dense[i] / n;
    for (size_t i = 0; i < rows.dense.size(); ++i) square[i % f] += std::pow(rows.dense[i] - mean_[i % f], 2) / n;
    Vector largest(f, 0.0);
    for (size_t i = 0; i < rows.dense.size(); ++i)
      largest[i % f] = std::max(largest[i % f], std::abs(double{rows.dense[i]}));
    for (size_t i = 0; i < f; ++i) scale_[i] = inverse_deviation(square[i], largest[i]);
    dense_.resize(rows.n, rows.features);
    for (size_t i = 0; i < rows.dense.size(); ++i) {
      dense_.data()[i] = (rows.dense[i] - mean_[i % f]) * scale_[i % f];
    }
  }

  size_t size() const { return labels_ * (static_cast<size_t>(rows_.features) + 1); }

  double operator()(const Vector& at, Vector& gradient) const {
    const auto f = static_cast<size_t>(rows_.features);
    const Eigen::Map<const Eigen::RowVectorXd> bias(at.data() + labels_ * f, static_cast<Eigen::Index>(labels_));
    gradient.assign(size(), 0.0);
    Vector probability(labels_);
    double loss = 0;
    for (int64_t begin = 0; begin < rows_.n; begin += kBlock) {
      const int64_t n = std::min(kBlock, rows_.n - begin);
      Matrix errors = (project(begin, n, at).rowwise() + bias).eval();  // logits, then probabilities less targets
      for (int64_t i = 0; i < n; ++i) {
        const auto targets = targets_.subspan(static_cast<size_t>(begin + i) * labels_, labels_);
        double* const row = errors.row(i).data();
        loss += row_loss({row, labels_}, targets, options_.several, probability);
        for (size_t c = 0; c < labels_; ++c) {
          row[c] = probability[c] - double{targets[c]};
          gradient[labels_ * f + c] += row[c];
        }
      }
      spread(begin, errors, gradient);
    }
    const auto n = static_cast<double>(rows_.n);
    for (double& g : gradient) g /= n;
    double square = 0;
    for (size_t i = 0; i < labels_ * f; ++i) {
      square += at[i] * at[i];
      gradient[i] += options_.l2 * at[i];
    }
    return loss / n + 0.5 * options_.l2 * square;
  }

  /// Weights for features as they come.
  LinearLabels raw(const Vector& at) const {
    const auto f = static_cast<size_t>(rows_.features);
    LinearLabels out{.labels = static_cast<int32_t>(labels_), .weights = {}, .bias = {}};
    for (size_t c = 0; c < labels_; ++c) {
      double bias = at[labels_ * f + c];
      for (size_t i = 0; i < f; ++i) {
        const double weight = at[c * f + i] * scale_[i];
        out.weights.push_back(static_cast<float>(weight));
        bias -= weight * mean_[i];
      }
      out.bias.push_back(static_cast<float>(bias));
    }
    return out;
  }

 private:
  static constexpr int64_t kBlock = 256;  // rows of one product

  Matrix project(int64_t begin, int64_t n, const Vector& at) const {
    const Weights weights(at.data(), static_cast<Eigen::Index>(labels_), rows_.features);
    if (dense_.size() > 0) return dense_.middleRows(begin, n) * weights.transpose();
    Matrix out = Matrix::Zero(n, static_cast<Eigen::Index>(labels_));
    for (int64_t i = 0; i < n; ++i) {
      for (const SparseTerm& term : rows_.sparse[static_cast<size_t>(begin + i)]) {
        out.row(i) += double{term.value} * weights.col(term.feature).transpose();
      }
    }
    return out;
  }
  void spread(int64_t begin, const Matrix& errors, Vector& gradient) const {
    Eigen::Map<Matrix> into(gradient.data(), static_cast<Eigen::Index>(labels_), rows_.features);
    if (dense_.size() > 0) {
      into.noalias() += errors.transpose() * dense_.middleRows(begin, errors.rows());
      return;
    }
    for (int64_t i = 0; i < errors.rows(); ++i) {
      for (const SparseTerm& term : rows_.sparse[static_cast<size_t>(begin + i)]) {
        into.col(term.feature) += double{term.value} * errors.row(i).transpose();
      }
    }
  }

  FeatureRows rows_;
  std::span<const float> targets_;
  size_t labels_;
  LabelFitOptions options_;
  Vector mean_, scale_;
  Matrix dense_;  // [n, features] standardised; empty: sparse
};

/// The last steps and how the gradient changed along them.
class Memory {
 public:
  void add(Vector step, Vector change) {
    const double curvature = dot(step, change);
    if (curvature <= 1e-12 * dot(change, change)) return;  // not convex enough to be of use
    pairs_.push_back({std::move(step), std::move(change), 1 / curvature});
    if (pairs_.size() > kKept) pairs_.pop_front();
  }
  /// The direction of descent: minus the gradient times an approximate inverse Hessian.
  Vector direction(const Vector& gradient) const {
    Vector q = gradient;
    Vector along(pairs_.size());
    for (size_t i = pairs_.size(); i-- > 0;) {
      along[i] = pairs_[i].inverse * dot(pairs_[i].step, q);
      for (size_t j = 0; j < q.size(); ++j) q[j] -= along[i] * pairs_[i].change[j];
    }
    if (!pairs_.empty()) {
      const Pair& last = pairs_.back();
      const double scale = 1 / (last.inverse * dot(last.change, last.change));
      for (double& x : q) x *= scale;
    }
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const double back = pairs_[i].inverse * dot(pairs_[i].change, q);
      for (size_t j = 0; j < q.size(); ++j) q[j] += (along[i] - back) * pairs_[i].step[j];
    }
    for (double& x : q) x = -x;
    return q;
  }

 private:
  static constexpr size_t kKept = 5;
  struct Pair {
    Vector step, change;
    double inverse;
  };
  std::deque<Pair> pairs_;
};

Vector minimise(const Objective& objective, int32_t most_steps) {
  constexpr double kFlat = 1e-5, kEnough = 1e-4;  // largest gradient at the end; share of the promised descent
  Vector at(objective.size(), 0.0), gradient, next_gradient;
  double value = objective(at, gradient);
  Memory memory;
  for (int32_t step = 0; step < most_steps; ++step) {
    const auto largest = std::max_element(gradient.begin(), gradient.end(),
                                          [](double a, double b) { return std::abs(a) < std::abs(b); });
    if (std::abs(*largest) < kFlat) break;
    const Vector direction = memory.direction(gradient);
    const double slope = dot(direction, gradient);
    double length = 1;
    Vector next(at.size());
    double next_value = value;
    for (int32_t tries = 0; tries < 40; ++tries, length /= 2) {
      for (size_t i = 0; i < at.size(); ++i) next[i] = at[i] + length * direction[i];
      next_value = objective(next, next_gradient);
      if (next_value <= value + kEnough * length * slope) break;
    }
    if (!(next_value < value)) break;  // rounding is all that is left
    Vector moved(at.size()), change(at.size());
    for (size_t i = 0; i < at.size(); ++i) {
      moved[i] = next[i] - at[i];
      change[i] = next_gradient[i] - gradient[i];
    }
    memory.add(std::move(moved), std::move(change));
    at = std::move(next);
    gradient = next_gradient;
    value = next_value;
  }
  return at;
}

Error refused(ErrorCode code, std::string message) { return {code, "label classifier: " + std::move(message)}; }

Result<void> check(const FeatureRows& rows, std::span<const float> targets, int32_t labels) {
  if (rows.n < 1 || rows.features < 1 || labels < 1) {
    return refused(ErrorCode::argument, fmt::format("{} rows of {} features and {} labels: give at least one of each",
                                                    rows.n, rows.features, labels));
  }
  const bool fits =
      rows.dense.empty() ? std::ssize(rows.sparse) == rows.n : std::ssize(rows.dense) == rows.n * rows.features;
  if (!fits || std::ssize(targets) != rows.n * labels) {
    return refused(ErrorCode::shape, fmt::format("{} rows with {} and {} features and {} targets: sizes do not fit",
                                                 rows.n, rows.dense.size(), rows.sparse.size(), targets.size()));
  }
  if (!rows.dense.empty()) FATHOM_TRY(check_rows("label classifier", rows.dense, rows.features));
  return {};
}

}  // namespace

void LinearLabels::operator()(std::span<const float> features, std::span<float> logits) const {
  for (size_t c = 0; c < logits.size(); ++c) {
    const float* const w = weights.data() + c * features.size();
    double sum = bias[c];
    for (size_t i = 0; i < features.size(); ++i) sum += static_cast<double>(w[i]) * features[i];
    logits[c] = static_cast<float>(sum);
  }
}

void LinearLabels::operator()(std::span<const SparseTerm> features, std::span<float> logits) const {
  const size_t f = weights.size() / static_cast<size_t>(labels);
  for (size_t c = 0; c < logits.size(); ++c) {
    double sum = bias[c];
    for (const SparseTerm& term : features) {
      sum += static_cast<double>(weights[c * f + static_cast<size_t>(term.feature)]) * term.value;
    }
    logits[c] = static_cast<float>(sum);
  }
}

Result<LinearLabels> fit_labels(const FeatureRows& rows, std::span<const float> targets, int32_t labels,
                                const LabelFitOptions& options) {
  FATHOM_TRY(check(rows, targets, labels));
  const Objective objective(rows, targets, labels, options);
  return objective.raw(minimise(objective, options.most_steps));
}

void label_probabilities(std::span<float> logits, float temperature, bool several) {
  if (several) {
    for (float& x : logits) x = 1 / (1 + std::exp(-x / temperature));
    return;
  }
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float& x : logits) sum += x = std::exp((x - most) / temperature);
  for (float& x : logits) x = static_cast<float>(x / sum);
}

double label_loss(std::span<const float> logits, std::span<const float> targets, int32_t labels, bool several,
                  float temperature) {
  const auto n_labels = static_cast<size_t>(labels), n = targets.size() / n_labels;
  Vector row(n_labels), probability(n_labels);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t c = 0; c < n_labels; ++c) row[c] = static_cast<double>(logits[i * n_labels + c]) / temperature;
    sum += row_loss(row, targets.subspan(i * n_labels, n_labels), several, probability);
  }
  return sum / static_cast<double>(n);
}

float fit_label_temperature(std::span<const float> logits, std::span<const float> targets, int32_t labels,
                            bool several) {
  constexpr double kRatio = 0.6180339887498949;
  double low = std::log(0.125), high = std::log(8.0);
  const auto at = [&](double x) {
    return label_loss(logits, targets, labels, several, static_cast<float>(std::exp(x)));
  };
  double a = high - kRatio * (high - low), b = low + kRatio * (high - low), at_a = at(a), at_b = at(b);
  while (high - low > 1e-4) {
    if (at_a < at_b) {
      high = b, b = a, at_b = at_a;
      at_a = at(a = high - kRatio * (high - low));
    } else {
      low = a, a = b, at_a = at_b;
      at_b = at(b = low + kRatio * (high - low));
    }
  }
  return static_cast<float>(std::exp((low + high) / 2));
}

}  // namespace fathom
