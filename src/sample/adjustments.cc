// Bias and penalties, token by token.
#include "src/sample/adjustments.h"

namespace fathom {

void Adjustments::collect(const SampleOptions& o, std::span<const int32_t> history, int64_t vocab) {
  options_ = &o;
  tokens_.clear();
  seen_.clear();
  for (const LogitBias& b : o.bias) tokens_.push_back(b.token);
  if (o.repeat_penalty != 1 || o.presence_penalty != 0 || o.frequency_penalty != 0) {
    if (o.penalty_last >= 0) history = history.last(std::min<size_t>(history.size(), o.penalty_last));
    seen_.assign(history.begin(), history.end());
    std::sort(seen_.begin(), seen_.end());
    tokens_.insert(tokens_.end(), seen_.begin(), seen_.end());
  }
  std::erase_if(tokens_, [vocab](int32_t t) { return t < 0 || t >= vocab; });
  std::sort(tokens_.begin(), tokens_.end());
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end()), tokens_.end());
  times_.clear();
  for (const int32_t t : tokens_) {
    const auto range = std::equal_range(seen_.begin(), seen_.end(), t);
    times_.push_back(static_cast<int32_t>(range.second - range.first));
  }
}

void Adjustments::apply(std::span<float> logits) const {
  for (const LogitBias& b : options_->bias) {
    const auto at = std::lower_bound(tokens_.begin(), tokens_.end(), b.token);
    if (at != tokens_.end() && *at == b.token) logits[static_cast<size_t>(at - tokens_.begin())] += b.bias;
  }
  for (size_t i = 0; i < times_.size(); ++i) {
    if (times_[i] == 0) continue;
    float& logit = logits[i];
    logit = logit > 0 ? logit / options_->repeat_penalty : logit * options_->repeat_penalty;
    logit -= static_cast<float>(times_[i]) * options_->frequency_penalty + options_->presence_penalty;
  }
}

}  // namespace fathom
