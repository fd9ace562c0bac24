// Adjustments: the tokens whose logits bias and penalties change, and how; truncation's threshold for min_p.
// Shared by the sampler and the screened head, which applies the same steps to bounds: every step keeps order, so that
// a bound of a logit becomes a bound of the adjusted logit. Next in the flow: sampler.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "fathom/sample/sampler.h"

namespace fathom {

class Adjustments {
 public:
  /// Finds the tokens that `options` change after `history`. Allocates only for more tokens than ever before.
  void collect(const SampleOptions& options, std::span<const int32_t> history, int64_t vocab);

  /// Ascending, each once, inside the vocabulary.
  std::span<const int32_t> tokens() const { return tokens_; }
  bool empty() const { return tokens_.empty(); }

  /// Changes the logits of tokens() in their order: bias, then repeat, frequency and presence penalties.
  void apply(std::span<float> logits) const;

 private:
  const SampleOptions* options_ = nullptr;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> seen_;   // the history that counts, sorted
  std::vector<int32_t> times_;  // [tokens]
};

/// The lowest logit that min_p keeps beside a largest one; grows with it.
inline float lowest_kept(float max, const SampleOptions& options) {
  return static_cast<float>(max + options.temperature * std::log(static_cast<double>(options.min_p)));
}

inline bool keeps_top_k(const SampleOptions& o, size_t vocab) {
  return o.top_k > 0 && static_cast<size_t>(o.top_k) < vocab;
}

inline bool truncates(const SampleOptions& o, size_t vocab) {
  return keeps_top_k(o, vocab) || o.top_p < 1 || o.min_p > 0;
}

}  // namespace fathom
