// Drawing nearly orthogonal codes. Next: tests/support/spare_writer.cc.
#include "tests/support/spare_codes.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <stdexcept>

namespace fathom::testing {

int32_t SpareCodes::dot(const Code& a, const Code& b) const {
  int32_t different = 0;
  for (size_t word = 0; word < a.size(); ++word) different += std::popcount(a[word] ^ b[word]);
  return length - 2 * different;
}

SpareCodes spare_codes(int32_t length, int32_t n, Random random) {
  SpareCodes out{length, {}};
  if (length > 256) throw std::invalid_argument("SpareCodes: at most 256 signs");
  while (out.codes.size() < static_cast<size_t>(n)) {
    SpareCodes::Code code = {};
    for (int32_t i = 0; i < length; i += 64) {
      const int32_t left = std::min(64, length - i);
      code[static_cast<size_t>(i / 64)] = random.next() >> (64 - left);
    }
    const bool apart = std::all_of(out.codes.begin(), out.codes.end(), [&](const SpareCodes::Code& other) {
      const int64_t product = out.dot(code, other);
      return 100 * product * product <= 1024 * length;  // 3.2 squared
    });
    if (apart) out.codes.push_back(code);
  }
  return out;
}

}  // namespace fathom::testing
