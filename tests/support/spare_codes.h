// Codes of +-1 that are nearly orthogonal, one for each token. Next: tests/support/spare_writer.cc.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "tests/support/tiny_blocks.h"

namespace fathom::testing {

/// At most 256 signs each.
struct SpareCodes {
  using Code = std::array<uint64_t, 4>;
  int32_t length = 0;
  std::vector<Code> codes;

  float sign(int32_t code, int32_t i) const {
    return codes[static_cast<size_t>(code)][static_cast<size_t>(i / 64)] >> (i % 64) & 1 ? 1.0f : -1.0f;
  }
  int32_t dot(const Code& a, const Code& b) const;  // of signs
};

/// Draws codes until none has a product beyond 3.2 deviations of chance with one before it.
SpareCodes spare_codes(int32_t length, int32_t n, Random random);

}  // namespace fathom::testing
