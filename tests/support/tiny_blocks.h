// Random numbers and random valid blocks of every weight type, the same bits on every machine: integers, and single
// float products that no compiler can fuse. Next: tests/support/tiny_model.cc.
#pragma once

#include <cstdint>
#include <string_view>

#include "fathom/core/dtype.h"
#include "tests/support/gguf_writer.h"

namespace fathom::testing {

/// SplitMix64 (Steele, Lea and Flood 2014), seeded by a number and a name.
class Random {
 public:
  Random(uint64_t seed, std::string_view name);
  uint64_t next();
  int below(int n) { return static_cast<int>((next() >> 33) % static_cast<uint64_t>(n)); }
  /// Mean 0, deviation 1, within 3.47: the sum of four uniform 16-bit numbers, an exact multiple of 2^-15 before
  /// scaling.
  float normal();

 private:
  uint64_t state_;
};

/// Blocks whose decoded values have mean about 0 and the deviation given; scales differ from block to block.
///   n   elements, whole blocks
Bytes random_blocks(DType type, int64_t n, float deviation, Random& random);

}  // namespace fathom::testing
