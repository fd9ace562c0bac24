// ShareList: one share, or one for each boundary in turn; plain data of fixed size, so that stages stay trivially
// copyable. Next in the flow: policy/tokens.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

namespace fathom {

/// Shares that a policy can list.
inline constexpr int32_t kMaxPolicyShares = 32;

/// Written `0.7`, or `{0.9, 0.8, 0.7}` and as text `[0.9,0.8,0.7]`; the last holds for all that follow. One too many is
/// dropped and reported by is_too_long() for check().
class ShareList {
 public:
  constexpr ShareList() = default;
  constexpr ShareList(float one) { add(one); }
  constexpr ShareList(std::initializer_list<float> shares) {
    for (const float share : shares) add(share);
  }

  constexpr void add(float share) {
    if (n_ == kMaxPolicyShares) {
      too_long_ = 1;
    } else {
      shares_[n_++] = share;
    }
  }
  /// The share of place i, from 0; of an empty list 1: nothing goes.
  constexpr float at(int32_t i) const { return n_ == 0 ? 1 : shares_[std::clamp(i, 0, n_ - 1)]; }
  constexpr int32_t size() const { return n_; }
  constexpr bool is_too_long() const { return too_long_ != 0; }
  constexpr const float* begin() const { return shares_; }
  constexpr const float* end() const { return shares_ + n_; }

  friend constexpr bool operator==(const ShareList&, const ShareList&) = default;

 private:
  float shares_[kMaxPolicyShares] = {};
  int32_t n_ = 0;
  int32_t too_long_ = 0;
};

}  // namespace fathom
