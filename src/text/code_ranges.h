// Sets of code points as ranges that rise. Next in the flow: text/nfc.h and text/wordpiece.h, which have some.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace fathom::text {

/// Whether one of `ranges`, {first, last} and rising, holds c.
template <size_t N>
bool in_ranges(const uint32_t (&ranges)[N][2], uint32_t c) {
  const auto* const range =
      std::lower_bound(std::begin(ranges), std::end(ranges), c, [](const auto& r, uint32_t x) { return r[1] < x; });
  return range != std::end(ranges) && (*range)[0] <= c;
}

}  // namespace fathom::text
