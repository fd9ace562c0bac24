// Comparisons that name the worst element, its index and both values. Used by every test of numbers.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

namespace fathom::testing {

/// got[i] within tolerance(i) of want[i] for every i. NaN matches NaN only, infinities match themselves only.
template <class Want, class Tolerance>
::testing::AssertionResult all_near(std::span<const float> got, std::span<const Want> want, Tolerance tolerance) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << fmt::format("{} values, expected {}", got.size(), want.size());
  }
  size_t worst = 0;
  double worst_excess = 0;  // error over tolerance
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = got[i], w = static_cast<double>(want[i]);
    if ((std::isnan(g) && std::isnan(w)) || g == w) continue;
    const double error = std::abs(g - w), allowed = tolerance(i);
    const double excess = std::isfinite(error) ? (error <= allowed ? 0 : error / allowed) : HUGE_VAL;
    if (excess > worst_excess) worst = i, worst_excess = excess;
  }
  if (worst_excess == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << fmt::format(
             "worst at [{}]: {:.9g}, expected {:.9g}, allowed difference {:.3g}", worst, got[worst],
             static_cast<double>(want[worst]), static_cast<double>(tolerance(worst)));
}

/// The same bits in every element (any NaN matches any NaN).
template <class T>
::testing::AssertionResult same_bits(std::span<const T> got, std::span<const T> want) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << fmt::format("{} values, expected {}", got.size(), want.size());
  }
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(T)) == 0 || (got[i] != got[i] && want[i] != want[i])) continue;
    return ::testing::AssertionFailure() << fmt::format("first at [{}]: {}, expected {}", i, got[i], want[i]);
  }
  return ::testing::AssertionSuccess();
}

}  // namespace fathom::testing
