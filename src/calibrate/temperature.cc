// Temperatures by likelihood: sums at the grid, a spline between them, and its minimum.
#include "fathom/calibrate/temperature.h"

#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <limits>

#include "src/calibrate/matrix.h"

namespace fathom {

namespace {

using Eigen::Index;
using Eigen::VectorXd;

Result<void> check(const TemperatureRows& rows, int32_t n_cells) {
  if (rows.betas.size() < 4) {
    return Error{ErrorCode::argument, fmt::format("betas: {} of them: pass 4 or more", rows.betas.size())};
  }
  for (size_t k = 0; k < rows.betas.size(); ++k) {
    const float beta = rows.betas[k];
    if (!(beta > 0) || !std::isfinite(beta) || (k > 0 && beta <= rows.betas[k - 1])) {
      return Error{ErrorCode::argument, fmt::format("betas: entry {} is {}: pass rising values above 0", k, beta)};
    }
  }
  if (rows.betas.front() > 1 || rows.betas.back() < 1) {
    return Error{ErrorCode::argument,
                 fmt::format("betas: from {} to {}: enclose 1", rows.betas.front(), rows.betas.back())};
  }
  if (n_cells < 1) return Error{ErrorCode::argument, fmt::format("n_cells {}: pass 1 or more", n_cells)};
  const size_t n = rows.target.size(), k = rows.betas.size();
  if (rows.lse.size() != n * k || (!rows.cell.empty() && rows.cell.size() != n)) {
    return Error{ErrorCode::shape,
                 fmt::format("{} rows with {} log-sum-exps at {} betas and {} cells: pass [n, k] and [n]", n,
                             rows.lse.size(), k, rows.cell.size())};
  }
  FATHOM_TRY(check_rows("target", rows.target, 1));
  FATHOM_TRY(check_rows("lse", rows.lse, static_cast<int64_t>(k)));
  for (size_t i = 0; i < n; ++i) {
    if (!rows.cell.empty() && (rows.cell[i] < 0 || rows.cell[i] >= n_cells)) {
      return Error{ErrorCode::argument,
                   fmt::format("cell: row {} is in {} of {}: raise n_cells", i, rows.cell[i], n_cells)};
    }
    for (size_t j = 0; j < k; ++j) {
      const double term = double{rows.betas[j]} * rows.target[i];
      if (rows.lse[i * k + j] >= term - 1e-3 * (1 + std::abs(term))) continue;
      return Error{
          ErrorCode::argument,
          fmt::format("lse: row {}, column {} is {}, below its target's own {}: the target is among the logits", i, j,
                      rows.lse[i * k + j], term)};
    }
  }
  return {};
}

// A cubic spline through (x, y) whose third derivative is continuous at the second and the last but one knot.
class Spline {
 public:
  Spline(VectorXd x, VectorXd y) : x_(std::move(x)), y_(std::move(y)) {
    const Index n = x_.size();
    Eigen::MatrixXd a = Eigen::MatrixXd::Zero(n, n);
    VectorXd rhs = VectorXd::Zero(n);
    const auto h = [&](Index i) { return x_[i + 1] - x_[i]; };
    for (Index i = 1; i + 1 < n; ++i) {
      a(i, i - 1) = h(i - 1) / 6;
      a(i, i) = (h(i - 1) + h(i)) / 3;
      a(i, i + 1) = h(i) / 6;
      rhs[i] = (y_[i + 1] - y_[i]) / h(i) - (y_[i] - y_[i - 1]) / h(i - 1);
    }
    for (const auto& [row, i] : {std::pair<Index, Index>{0, 0}, {n - 1, n - 3}}) {
      a(row, i) = 1 / h(i);
      a(row, i + 1) = -1 / h(i) - 1 / h(i + 1);
      a(row, i + 2) = 1 / h(i + 1);
    }
    bend_ = a.partialPivLu().solve(rhs);
  }

  double operator()(double x) const {
    Index i = 0;
    while (i + 2 < x_.size() && x > x_[i + 1]) ++i;
    return at(i, (x - x_[i]) / (x_[i + 1] - x_[i]));
  }

  /// Where it is least.
  double minimum() const {
    double best = x_[0], least = y_[0];
    const auto offer = [&](Index i, double t) {
      const double y = at(i, t);
      if (t >= 0 && t <= 1 && y < least) best = x_[i] + t * (x_[i + 1] - x_[i]), least = y;
    };
    for (Index i = 0; i + 1 < x_.size(); ++i) {
      // The derivative in t is a t^2 + b t + c.
      const double h = x_[i + 1] - x_[i], a = (bend_[i + 1] - bend_[i]) * h * h / 2, b = bend_[i] * h * h;
      const double c = y_[i + 1] - y_[i] - (2 * bend_[i] + bend_[i + 1]) * h * h / 6;
      const double root = std::sqrt(std::max(b * b - 4 * a * c, 0.0));
      const double q = -0.5 * (b + (b < 0 ? -root : root));  // without cancellation
      if (a != 0) offer(i, q / a);
      if (q != 0) offer(i, c / q);
      offer(i, 1);
    }
    return best;
  }

 private:
  double at(Index i, double t) const {
    const double h = x_[i + 1] - x_[i], s = 1 - t;
    return s * y_[i] + t * y_[i + 1] + ((s * s * s - s) * bend_[i] + (t * t * t - t) * bend_[i + 1]) * h * h / 6;
  }

  VectorXd x_, y_, bend_;  // [k]; bend: second derivatives
};

// `sums` are over the rows of one cell, at each beta.
TemperatureFit fit(std::span<const float> betas, std::span<const double> sums, int64_t n) {
  TemperatureFit result;
  result.n = n;
  if (n == 0) {
    result.nll_before = result.nll_after = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  const auto k = static_cast<Index>(betas.size());
  VectorXd x(k), y(k);
  for (Index i = 0; i < k; ++i) {
    x[i] = std::log(double{betas[static_cast<size_t>(i)]});
    y[i] = sums[static_cast<size_t>(i)] / static_cast<double>(n);
  }
  const Spline loss(x, y);
  result.nll_before = loss(0);
  const double found = loss.minimum(), best = loss(found) < result.nll_before ? found : 0;
  result.nll_after = loss(best);
  result.temperature = static_cast<float>(std::exp(-best));
  result.at_edge = best <= x[0] || best >= x[k - 1];
  return result;
}

}  // namespace

Result<std::vector<TemperatureFit>> fit_temperatures(const TemperatureRows& rows, int32_t n_cells) {
  FATHOM_TRY(check(rows, n_cells));
  const size_t k = rows.betas.size();
  std::vector<double> sums(static_cast<size_t>(n_cells) * k);
  std::vector<int64_t> counts(static_cast<size_t>(n_cells));
  for (size_t i = 0; i < rows.target.size(); ++i) {
    const size_t cell = rows.cell.empty() ? 0 : static_cast<size_t>(rows.cell[i]);
    counts[cell] += 1;
    for (size_t j = 0; j < k; ++j) {
      sums[cell * k + j] += double{rows.lse[i * k + j]} - double{rows.betas[j]} * rows.target[i];
    }
  }
  std::vector<TemperatureFit> fits;
  for (size_t cell = 0; cell < counts.size(); ++cell) {
    fits.push_back(fit(rows.betas, std::span(sums).subspan(cell * k, k), counts[cell]));
  }
  return fits;
}

}  // namespace fathom
