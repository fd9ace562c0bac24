// Eigen as the fits use it (one thread, row-major rows), and the checks of what callers hand to them.
#pragma once

#define EIGEN_DONT_PARALLELIZE
#define EIGEN_MPL2_ONLY
#include <fmt/format.h>

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>

#include "fathom/core/result.h"

namespace fathom {

using RowsF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowF = Eigen::RowVectorXf;
using RowD = Eigen::RowVectorXd;

inline Eigen::Map<const RowsF> as_rows(std::span<const float> values, Eigen::Index width) {
  return {values.data(), static_cast<Eigen::Index>(values.size()) / width, width};
}
inline Eigen::Map<RowsF> as_rows(std::span<float> values, Eigen::Index width) {
  return {values.data(), static_cast<Eigen::Index>(values.size()) / width, width};
}

/// Whole rows of finite values; a row is named by its number among all rows of the caller.
inline Result<void> check_rows(std::string_view name, std::span<const float> values, int64_t width,
                               int64_t first_row = 0) {
  if (width < 1 || static_cast<int64_t>(values.size()) % width != 0) {
    return Error{ErrorCode::shape, fmt::format("{}: {} values are not whole rows of {}: pass [n, {}]", name,
                                               values.size(), width, width)};
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    const int64_t row = first_row + static_cast<int64_t>(i) / width, column = static_cast<int64_t>(i) % width;
    return Error{ErrorCode::argument, fmt::format("{}: row {}, column {} is {}: leave out rows that are not finite",
                                                  name, row, column, values[i])};
  }
  return {};
}

/// [n] values of 0 or 1.
inline Result<void> check_labels(std::string_view name, std::span<const uint8_t> labels, size_t n) {
  if (labels.size() != n) {
    return Error{ErrorCode::shape, fmt::format("{}: {} labels for {} rows: pass one for each", name, labels.size(), n)};
  }
  for (size_t i = 0; i < n; ++i) {
    if (labels[i] > 1)
      return Error{ErrorCode::argument, fmt::format("{}: row {} is {}: labels are 0 or 1", name, i, labels[i])};
  }
  return {};
}

/// [n] values from 0 to 1.
inline Result<void> check_shares(std::string_view name, std::span<const float> shares, size_t n) {
  if (shares.size() != n) {
    return Error{ErrorCode::shape, fmt::format("{}: {} shares for {} rows: pass one for each", name, shares.size(), n)};
  }
  for (size_t i = 0; i < n; ++i) {
    if (!(shares[i] >= 0 && shares[i] <= 1))
      return Error{ErrorCode::argument, fmt::format("{}: row {} is {}: shares are in [0, 1]", name, i, shares[i])};
  }
  return {};
}

/// Empty, or [d] finite values that are not all 0.
inline Result<void> check_metric(std::span<const float> metric, int64_t width) {
  if (metric.empty()) return {};
  if (static_cast<int64_t>(metric.size()) != width) {
    return Error{ErrorCode::shape,
                 fmt::format("metric: {} values for rows of {}: pass one for each output", metric.size(), width)};
  }
  FATHOM_TRY(check_rows("metric", metric, width));
  for (const float m : metric) {
    if (m != 0) return {};
  }
  return Error{ErrorCode::argument, "metric: every value is 0: pass an empty metric for equal weights"};
}

}  // namespace fathom
