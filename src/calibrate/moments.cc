// RidgeFit: rows become moments, block by block. Next in the flow: src/calibrate/ridge.cc, which solves them.
#include <algorithm>
#include <cmath>

#include "fathom/calibrate/ridge.h"
#include "src/calibrate/matrix.h"

namespace fathom {

namespace {

// Below the depth at which Eigen cuts a product by the cache sizes it finds, so the order of a sum is fixed.
constexpr Eigen::Index kBlockRows = 256;

void prepare(PairMoments& moments, size_t d) {
  for (auto* vector : {&moments.mean_x, &moments.mean_t, &moments.tt}) vector->assign(d, 0);
  for (auto* matrix : {&moments.xx, &moments.xt}) matrix->assign(d * d, 0);
}

void fold(PairMoments& moments, std::span<const float> x_values, std::span<const float> y_values, Eigen::Index d) {
  const auto x = as_rows(x_values, d), y = as_rows(y_values, d);
  const Eigen::Index n = x.rows();
  if (n == 0) return;
  RowD block_x = RowD::Zero(d), block_t = RowD::Zero(d);
  for (Eigen::Index i = 0; i < n; ++i) {
    block_x += x.row(i).cast<double>();
    block_t += y.row(i).cast<double>() - x.row(i).cast<double>();
  }
  block_x /= static_cast<double>(n);
  block_t /= static_cast<double>(n);
  RowsF xc(n, d), tc(n, d);
  Eigen::Map<RowD> tt(moments.tt.data(), d);
  for (Eigen::Index i = 0; i < n; ++i) {
    const RowD row = x.row(i).cast<double>();
    xc.row(i) = (row - block_x).cast<float>();
    tc.row(i) = (y.row(i).cast<double>() - row - block_t).cast<float>();
    tt += tc.row(i).cast<double>().cwiseAbs2();
  }

  const double seen = static_cast<double>(moments.n), all = seen + static_cast<double>(n);
  const double between = seen * static_cast<double>(n) / all;
  Eigen::Map<RowD> mean_x(moments.mean_x.data(), d), mean_t(moments.mean_t.data(), d);
  const RowD dx = block_x - mean_x, dt = block_t - mean_t;
  Eigen::Map<Eigen::MatrixXd> xx(moments.xx.data(), d, d), xt(moments.xt.data(), d, d);
  Eigen::MatrixXf product = Eigen::MatrixXf::Zero(d, d);
  product.selfadjointView<Eigen::Lower>().rankUpdate(xc.transpose());
  for (Eigen::Index j = 0; j < d; ++j) {
    xx.col(j).tail(d - j) += product.col(j).tail(d - j).cast<double>() + between * dx[j] * dx.tail(d - j).transpose();
  }
  product.noalias() = xc.transpose() * tc;
  for (Eigen::Index j = 0; j < d; ++j) {
    xt.col(j) += product.col(j).cast<double>() + between * dt[j] * dx.transpose();
  }
  tt += between * dt.cwiseAbs2();
  mean_x += dx * (static_cast<double>(n) / all);
  mean_t += dt * (static_cast<double>(n) / all);
  moments.n += n;
}

}  // namespace

RidgeFit::RidgeFit(int32_t width) : width_(width) {
  FATHOM_ASSERT(width > 0);
  prepare(moments_, static_cast<size_t>(width));
}

Result<void> RidgeFit::add(std::span<const float> x, std::span<const float> y) {
  FATHOM_TRY(check_rows("x", x, width_, rows()));
  FATHOM_TRY(check_rows("y", y, width_, rows()));
  if (x.size() != y.size()) {
    return Error{ErrorCode::shape,
                 fmt::format("y: {} rows for {} of x: pass pairs", y.size() / width_, x.size() / width_)};
  }
  const size_t block = static_cast<size_t>(kBlockRows * width_);
  for (size_t done = 0; done < x.size();) {
    const size_t take = std::min(block - waiting_x_.size(), x.size() - done);
    const auto more_x = x.subspan(done, take), more_y = y.subspan(done, take);
    done += take;
    if (take == block) {
      fold(moments_, more_x, more_y, width_);
      continue;
    }
    waiting_x_.insert(waiting_x_.end(), more_x.begin(), more_x.end());
    waiting_y_.insert(waiting_y_.end(), more_y.begin(), more_y.end());
    if (waiting_x_.size() < block) continue;
    fold(moments_, waiting_x_, waiting_y_, width_);
    waiting_x_.clear();
    waiting_y_.clear();
  }
  return {};
}

PairMoments RidgeFit::moments() const {
  PairMoments all = moments_;
  fold(all, waiting_x_, waiting_y_, width_);
  return all;
}

Result<AffineTranslator> RidgeFit::solve(const RidgeOptions& options) const {
  return waiting_x_.empty() ? solve_ridge(moments_, options) : solve_ridge(moments(), options);
}

}  // namespace fathom
