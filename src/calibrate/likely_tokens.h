// LikelyTokens: which tokens full depth is likely to say, for the shortlist of exit checks.
// Next in the flow: src/calibrate/exit_fitting.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

class LikelyTokens {
 public:
  explicit LikelyTokens(int32_t vocab) : counts_(static_cast<size_t>(vocab)) {}

  /// Tokens of a text.
  void stand(std::span<const int32_t> tokens);
  /// What full depth ranks highest at one place: what it nearly chose here it often chooses elsewhere.
  ///   logits   [vocab]
  void rank(std::span<const float> logits);

  /// At most so many tokens: those that were counted most come first, of equals the lower id; those that never were
  /// come behind, by id.
  std::vector<int32_t> list(int32_t most) const;

 private:
  std::vector<int32_t> counts_, ranked_;
};

}  // namespace fathom
