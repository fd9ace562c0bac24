// Seeded numbers and the tables under test. Used by every test of kernels.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "kernels/abi.h"

namespace fathom::testing {

inline constexpr double kRound = 0x1p-24;  // the largest relative error of one rounding to f32

/// The tables of every target this machine can run.
inline std::span<const KernelTable* const> cpu_tables() {
  int32_t n = 0;
  const KernelTable* const* tables = kernels::cpu(&n);
  return {tables, static_cast<size_t>(n)};
}

inline std::vector<float> normal(size_t n, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<float> x(n);
  for (float& v : x) v = distribution(engine);
  return x;
}

}  // namespace fathom::testing
