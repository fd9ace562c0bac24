// Seeded numbers for the fits: the same on every machine, which std's distributions are not.
#pragma once

#include <cmath>
#include <cstdint>

#include "fathom/sample/noise.h"

namespace fathom {

/// A counter through mix_bits.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(mix_bits(seed + 0x9e3779b97f4a7c15u)) {}

  uint64_t bits() { return mix_bits(state_ += 0x9e3779b97f4a7c15u); }
  double uniform() { return (static_cast<double>(bits() >> 12) + 0.5) * 0x1p-52; }  // in (0, 1), both ends left out
  uint64_t below(uint64_t n) { return static_cast<uint64_t>(uniform() * static_cast<double>(n)); }

  /// Standard normal.
  ///   source   Box, Muller 1958
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  uint64_t state_;
};

}  // namespace fathom
