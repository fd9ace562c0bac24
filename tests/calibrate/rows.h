// Random rows, and linear algebra in plain loops for tests to compare with.
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "src/calibrate/random.h"

namespace fathom::testing {

inline std::vector<float> normal_values(size_t n, uint64_t seed, double scale = 1) {
  Random random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(scale * random.normal());
  return values;
}

/// x + x down up + bias in double, rounded once; `up` empty: down is [d, d].
inline std::vector<float> affine(const std::vector<float>& x, size_t d, const std::vector<float>& down,
                                 const std::vector<float>& up, const std::vector<float>& bias) {
  const size_t r = down.size() / d;
  std::vector<float> y(x.size());
  std::vector<double> inner(r);
  for (size_t row = 0; row < x.size(); row += d) {
    for (size_t k = 0; k < r; ++k) {
      inner[k] = 0;
      for (size_t i = 0; i < d; ++i) inner[k] += double{x[row + i]} * down[i * r + k];
    }
    for (size_t j = 0; j < d; ++j) {
      double sum = double{x[row + j]} + bias[j];
      if (up.empty()) sum += inner[j];
      for (size_t k = 0; k < r && !up.empty(); ++k) sum += inner[k] * up[k * d + j];
      y[row + j] = static_cast<float>(sum);
    }
  }
  return y;
}

/// Solves a w = b for b [d, m] in place by Gauss's elimination with pivots.
inline void solve_in_place(std::vector<double> a, std::vector<double>& b, size_t d) {
  const size_t m = b.size() / d;
  for (size_t k = 0; k < d; ++k) {
    size_t pivot = k;
    for (size_t i = k + 1; i < d; ++i) {
      if (std::abs(a[i * d + k]) > std::abs(a[pivot * d + k])) pivot = i;
    }
    for (size_t j = 0; j < d; ++j) std::swap(a[k * d + j], a[pivot * d + j]);
    for (size_t j = 0; j < m; ++j) std::swap(b[k * m + j], b[pivot * m + j]);
    for (size_t i = 0; i < d; ++i) {
      if (i == k) continue;
      const double factor = a[i * d + k] / a[k * d + k];
      for (size_t j = k; j < d; ++j) a[i * d + j] -= factor * a[k * d + j];
      for (size_t j = 0; j < m; ++j) b[i * m + j] -= factor * b[k * m + j];
    }
  }
  for (size_t i = 0; i < d; ++i) {
    for (size_t j = 0; j < m; ++j) b[i * m + j] /= a[i * d + i];
  }
}

}  // namespace fathom::testing
