// LikelyTokens: counting.
#include "src/calibrate/likely_tokens.h"

#include <algorithm>
#include <numeric>

#include "fathom/sample/sampler.h"

namespace fathom {
namespace {

constexpr size_t kRanked = 64;  // of one place; docs/lossless.md has what more of them gave

}  // namespace

void LikelyTokens::stand(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) ++counts_[static_cast<size_t>(token)];
}

void LikelyTokens::rank(std::span<const float> logits) {
  ranked_.resize(std::min(kRanked, logits.size()));
  const int32_t n = largest(logits, ranked_);
  stand(std::span(ranked_).first(static_cast<size_t>(n)));
}

std::vector<int32_t> LikelyTokens::list(int32_t most) const {
  std::vector<int32_t> tokens(counts_.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  std::stable_sort(tokens.begin(), tokens.end(),
                   [&](int32_t a, int32_t b) { return counts_[size_t(a)] > counts_[size_t(b)]; });
  tokens.resize(std::min(tokens.size(), static_cast<size_t>(most)));
  return tokens;
}

}  // namespace fathom
