// HeadSet: which query heads of which layers a stage names; plain data of fixed size, so that stages stay trivially
// copyable. Next in the flow: policy/silence.h.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "fathom/policy/layer_set.h"

namespace fathom {

/// One query head of one layer; both count from 1, as in the report's heat map.
struct HeadName {
  uint16_t layer = 0;
  uint16_t head = 0;

  friend constexpr bool operator==(const HeadName&, const HeadName&) = default;
  friend constexpr bool operator<(const HeadName& a, const HeadName& b) {
    return a.layer != b.layer ? a.layer < b.layer : a.head < b.head;
  }
};

/// The largest head a policy can name, and how many it can.
inline constexpr int32_t kMaxPolicyHead = 1024;
inline constexpr int32_t kMaxPolicyHeads = 256;

/// A set of heads, written `{{3, 1}, {3, 4}}` and as text `[3:1,3:4]`; two orders of one list are equal.
/// A head outside layers 1..1024 and heads 1..1024, and one too many, is kept as refused() for check() to report; it is
/// not in the set.
class HeadSet {
 public:
  constexpr HeadSet() = default;
  constexpr HeadSet(std::initializer_list<HeadName> heads) {
    for (const HeadName& name : heads) add(name.layer, name.head);
  }

  constexpr void add(int32_t layer, int32_t head) {
    const bool named = layer >= 1 && layer <= kMaxPolicyLayers && head >= 1 && head <= kMaxPolicyHead;
    const HeadName name{static_cast<uint16_t>(layer), static_cast<uint16_t>(head)};
    if (named && has(layer, head)) return;
    if (!named || n_ == kMaxPolicyHeads) {
      refused_layer_ = layer;
      refused_head_ = head;
      n_refused_ = 1;
      return;
    }
    int32_t at = n_++;
    for (; at > 0 && name < names_[at - 1]; --at) names_[at] = names_[at - 1];
    names_[at] = name;
    layers_.add(layer);
  }
  constexpr bool has(int32_t layer, int32_t head) const {
    for (const HeadName& name : *this) {
      if (name.layer == layer && name.head == head) return true;
    }
    return false;
  }
  constexpr bool has_layer(int32_t layer) const { return layers_.has(layer); }

  constexpr bool empty() const { return n_ == 0; }
  constexpr int32_t size() const { return n_; }
  /// By layer, then by head.
  constexpr const HeadName* begin() const { return names_; }
  constexpr const HeadName* end() const { return names_ + n_; }
  /// The deepest layer of the set; 0 when it is empty.
  constexpr int32_t last_layer() const { return n_ > 0 ? names_[n_ - 1].layer : 0; }

  constexpr bool has_refused() const { return n_refused_ != 0; }
  constexpr int32_t refused_layer() const { return refused_layer_; }
  constexpr int32_t refused_head() const { return refused_head_; }

  friend constexpr bool operator==(const HeadSet&, const HeadSet&) = default;

 private:
  LayerSet layers_;
  HeadName names_[kMaxPolicyHeads] = {};
  int32_t n_ = 0;
  int32_t refused_layer_ = 0, refused_head_ = 0;
  int32_t n_refused_ = 0;
};

}  // namespace fathom
