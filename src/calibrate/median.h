// The middle of a few numbers. Next: speeds.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace fathom {

/// 0 of no values; the upper one of an even number.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace fathom
