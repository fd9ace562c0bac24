// largest(): the top of a row of logits without sorting it. Next in the flow: src/engine/session.cc, which watches the
// head with it.
#include <algorithm>
#include <functional>

#include "src/sample/blocks.h"

namespace fathom {

int32_t largest(std::span<const float> logits, std::span<int32_t> dst) {
  const Blocks blocks(LogitRow{logits});
  if (dst.empty()) return 0;
  // As many blocks reach the n-th largest maximum as are wanted, each with one logit at least: no larger one is missed.
  float least = kNone;
  if (dst.size() <= blocks.maxima.size()) {
    std::vector<float> maxima = blocks.maxima;
    const auto nth = maxima.begin() + static_cast<std::ptrdiff_t>(dst.size() - 1);
    std::nth_element(maxima.begin(), nth, maxima.end(), std::greater<>());
    least = *nth;
  }
  std::vector<Candidate> kept = blocks.at_least(least);
  if (kept.size() > dst.size()) {
    std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(dst.size()), kept.end(), better);
    kept.resize(dst.size());
  }
  std::transform(kept.begin(), kept.end(), dst.begin(), [](Candidate c) { return c.token; });
  return static_cast<int32_t>(kept.size());
}

}  // namespace fathom
