// Affine translators from moments: ridge, its best map of low rank, and errors on rows that were not fitted.
#include "fathom/calibrate/ridge.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <limits>

#include "src/calibrate/matrix.h"
#include "src/calibrate/random.h"

namespace fathom {

namespace {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using MapD = Eigen::Map<const MatrixXd>;

// The moments as matrices; columns of xt are targets.
struct View {
  explicit View(const PairMoments& m)
      : d(static_cast<Index>(m.mean_x.size())),
        n(static_cast<double>(m.n)),
        mean_x(m.mean_x.data(), d),
        mean_t(m.mean_t.data(), d),
        tt(m.tt.data(), d),
        xx(m.xx.data(), d, d),
        xt(m.xt.data(), d, d) {}

  Index d;
  double n;
  Eigen::Map<const RowD> mean_x, mean_t, tt;
  MapD xx, xt;
};

Result<void> check(const PairMoments& moments) {
  if (moments.n < 1) return Error{ErrorCode::argument, "fit: no rows: add some first"};
  const View m(moments);
  if (m.xx.allFinite() && m.xt.allFinite() && m.tt.allFinite()) return {};
  return Error{ErrorCode::argument, "fit: the rows' products overflow: scale hidden states below 1e17"};
}

VectorXd penalties(const View& m, const RidgeOptions& options) {
  const VectorXd variance = m.xx.diagonal() / m.n;
  const double mean = variance.mean();
  if (mean == 0) return VectorXd::Ones(m.d);  // inputs that never change carry nothing
  if (options.penalty == RidgePenalty::uniform) return VectorXd::Constant(m.d, options.lambda * mean);
  return options.lambda * variance.cwiseMax(1e-9 * mean);
}

// The ridge's W of t = x W + b.  [in, out]
Result<MatrixXd> solve_weight(const PairMoments& moments, const RidgeOptions& options) {
  if (!(options.lambda >= 0) || !std::isfinite(options.lambda)) {
    return Error{ErrorCode::argument,
                 fmt::format("lambda {}: pass a share of the variance, 0 or more", options.lambda)};
  }
  FATHOM_TRY(check(moments));
  const View m(moments);
  MatrixXd a = m.xx / m.n;
  a.diagonal() += penalties(m, options);
  const Eigen::LLT<Eigen::Ref<MatrixXd>, Eigen::Lower> factor(a);
  MatrixXd w = m.xt / m.n;
  if (factor.info() == Eigen::Success) factor.solveInPlace(w);
  if (factor.info() != Eigen::Success || !w.allFinite()) {
    return Error{ErrorCode::argument,
                 fmt::format("lambda {}: the covariance of {} rows of {} cannot be inverted: raise lambda",
                             options.lambda, moments.n, m.d)};
  }
  return w;
}

std::vector<float> to_rows(const MatrixXd& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.size()));
  Eigen::Map<RowsF>(values.data(), matrix.rows(), matrix.cols()) = matrix.cast<float>();
  return values;
}

MatrixXd down_of(const AffineTranslator& t) { return as_rows(t.down, t.rank == 0 ? t.width : t.rank).cast<double>(); }
MatrixXd up_of(const AffineTranslator& t) { return as_rows(t.up, t.width).cast<double>(); }

// x W for one row, from the rounded weights.
RowD residual(const AffineTranslator& t, const RowD& x) {
  const RowD inner = x * down_of(t);
  return t.rank == 0 ? inner : RowD(inner * up_of(t));
}

// The bias that makes mean residuals meet with the weights as they were rounded.
void set_bias(AffineTranslator& t, const View& m) {
  const RowD bias = m.mean_t - residual(t, m.mean_x);
  t.bias.resize(static_cast<size_t>(m.d));
  Eigen::Map<RowF>(t.bias.data(), m.d) = bias.cast<float>();
}

MatrixXd orthonormal(const MatrixXd& columns) {
  const Eigen::HouseholderQR<MatrixXd> qr(columns);
  return qr.householderQ() * MatrixXd::Identity(columns.rows(), columns.cols());
}

// The leading eigenvectors of a symmetric positive matrix.  [d, rank]
MatrixXd leading_directions(const MatrixXd& matrix, Index rank) {
  const Index d = matrix.rows(), block = std::min(d, rank + 16);
  MatrixXd start(d, block);
  Random random(1);
  for (Index i = 0; i < start.size(); ++i) start.data()[i] = random.normal();
  MatrixXd basis = orthonormal(start), directions;
  double captured = -1;
  for (int step = 0; step < 60; ++step) {
    const MatrixXd image = matrix * basis;
    const Eigen::SelfAdjointEigenSolver<MatrixXd> ritz(basis.transpose() * image);  // values ascend
    const double now = ritz.eigenvalues().tail(rank).sum();
    directions.noalias() = basis * ritz.eigenvectors().rightCols(rank);
    if (block == d || now - captured <= 1e-10 * now) break;
    captured = now;
    basis = orthonormal(image);
  }
  return directions;
}

}  // namespace

void translate(const AffineTranslator& translator, std::span<const float> x, std::span<float> dst) {
  const Index d = translator.width;
  FATHOM_ASSERT(x.size() == dst.size() && x.size() % static_cast<size_t>(d) == 0);
  const auto in = as_rows(x, d);
  auto out = as_rows(dst, d);
  out = in.rowwise() + Eigen::Map<const RowF>(translator.bias.data(), d);
  if (translator.rank == 0) {
    out.noalias() += in * as_rows(translator.down, d);
  } else {
    const RowsF inner = in * as_rows(translator.down, translator.rank);
    out.noalias() += inner * as_rows(translator.up, d);
  }
}

Result<AffineTranslator> solve_ridge(const PairMoments& moments, const RidgeOptions& options) {
  FATHOM_TRY(const MatrixXd w, solve_weight(moments, options));
  AffineTranslator translator{
      .width = static_cast<int32_t>(w.rows()), .rank = 0, .down = to_rows(w), .up = {}, .bias = {}};
  set_bias(translator, View(moments));
  return translator;
}

Result<AffineTranslator> solve_low_rank(const PairMoments& moments, int32_t rank, const RidgeOptions& options,
                                        std::span<const float> metric) {
  const Index d = static_cast<Index>(moments.mean_x.size());
  if (rank < 1 || rank > d) {
    return Error{ErrorCode::argument, fmt::format("rank {} of rows of {}: pass 1 to {}", rank, d, d)};
  }
  FATHOM_TRY(check_metric(metric, d));
  FATHOM_TRY(const MatrixXd w, solve_weight(moments, options));
  const View m(moments);
  VectorXd scale = VectorXd::Ones(d);
  if (!metric.empty()) {
    scale = Eigen::Map<const Eigen::VectorXf>(metric.data(), d).cast<double>().cwiseAbs();
    scale = scale.cwiseMax(1e-3 * std::sqrt(scale.cwiseAbs2().mean()));  // it is divided by
  }
  // With A = C + penalty and W = A^-1 C_xt, the penalised fit's W^T A W is W^T C_xt.
  MatrixXd fitted = scale.asDiagonal() * (w.transpose() * m.xt / m.n) * scale.asDiagonal();
  fitted = 0.5 * (fitted + fitted.transpose()).eval();
  const MatrixXd directions = leading_directions(fitted, rank);
  const MatrixXd scaled = scale.asDiagonal() * directions;
  const MatrixXd up = directions.transpose() * scale.cwiseInverse().asDiagonal();
  AffineTranslator translator{
      .width = static_cast<int32_t>(d), .rank = rank, .down = to_rows(w * scaled), .up = to_rows(up), .bias = {}};
  set_bias(translator, m);
  return translator;
}

double mean_squared_error(const AffineTranslator& translator, const PairMoments& held_out,
                          std::span<const float> metric) {
  const View m(held_out);
  FATHOM_ASSERT(m.d == translator.width && held_out.n > 0);
  const MatrixXd down = down_of(translator);
  const MatrixXd image = m.xx.selfadjointView<Eigen::Lower>() * down;
  RowD cross, square;  // [d] sums of p t and of p p over centred rows, p being the fitted residual
  if (translator.rank == 0) {
    cross = down.cwiseProduct(m.xt).colwise().sum();
    square = down.cwiseProduct(image).colwise().sum();
  } else {
    const MatrixXd up = up_of(translator);
    const MatrixXd inner = down.transpose() * m.xt, gram = down.transpose() * image;
    const MatrixXd outer = gram * up;
    cross = up.cwiseProduct(inner).colwise().sum();
    square = up.cwiseProduct(outer).colwise().sum();
  }
  const Eigen::Map<const RowF> bias(translator.bias.data(), m.d);
  const RowD shift = m.mean_t - residual(translator, m.mean_x) - bias.cast<double>();
  RowD error = ((m.tt - 2 * cross + square) / m.n).cwiseMax(0) + shift.cwiseAbs2();
  if (!metric.empty()) {
    FATHOM_ASSERT(static_cast<Index>(metric.size()) == m.d);
    error = error.cwiseProduct(Eigen::Map<const RowF>(metric.data(), m.d).cast<double>().cwiseAbs2());
  }
  return error.mean();
}

Result<RidgeChoice> choose_ridge(const PairMoments& fit, const PairMoments& held_out, std::span<const float> lambdas,
                                 RidgePenalty penalty, std::span<const float> metric) {
  FATHOM_TRY(check(held_out));
  if (fit.mean_x.size() != held_out.mean_x.size()) {
    return Error{ErrorCode::shape, fmt::format("held-out rows of {} for a fit of {}: pass the same layer's",
                                               held_out.mean_x.size(), fit.mean_x.size())};
  }
  const size_t d = fit.mean_x.size();
  FATHOM_TRY(check_metric(metric, static_cast<int64_t>(d)));
  RidgeChoice best;
  best.error = std::numeric_limits<double>::infinity();
  Error failure{ErrorCode::argument, "lambdas: none given: pass one or more"};
  for (const float lambda : lambdas) {
    const RidgeOptions options{.lambda = lambda, .penalty = penalty};
    Result<AffineTranslator> translator = solve_ridge(fit, options);
    best.errors.push_back(translator ? mean_squared_error(*translator, held_out, metric) : NAN);
    if (!translator) failure = translator.error();
    const double error = best.errors.back();
    if (error < best.error || (error == best.error && lambda > best.options.lambda)) {
      best.translator = *std::move(translator);
      best.options = options;
      best.error = error;
    }
  }
  if (!std::isfinite(best.error)) return failure;
  const RowD mean_square = View(held_out).tt / static_cast<double>(held_out.n) + View(held_out).mean_t.cwiseAbs2();
  RowD weight = RowD::Ones(static_cast<Index>(d));
  if (!metric.empty()) weight = Eigen::Map<const RowF>(metric.data(), weight.size()).cast<double>().cwiseAbs2();
  best.identity_error = mean_square.cwiseProduct(weight).mean();
  return best;
}

}  // namespace fathom
