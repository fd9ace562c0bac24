// LayerSet: which layers a stage names; plain data of fixed size, so that stages stay trivially copyable.
// Next in the flow: policy/exit.h.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace fathom {

/// Layers a policy can name. The deepest published decoders have under 200; the bound keeps a set at 128 bytes.
inline constexpr int32_t kMaxPolicyLayers = 1024;

/// A set of layers, written `{8, 9}`. Membership is one bit test, and two orders of one list are equal.
/// A layer outside 1..1024 is kept as `refused()` for check() to report; it is in no set.
class LayerSet {
 public:
  constexpr LayerSet() = default;
  constexpr LayerSet(std::initializer_list<int32_t> layers) {
    for (int32_t layer : layers) add(layer);
  }

  constexpr void add(int32_t layer) {
    if (layer < 1 || layer > kMaxPolicyLayers) {
      refused_ = layer;
      n_refused_ = 1;
    } else {
      words_[(layer - 1) / 64] |= uint64_t{1} << (layer - 1) % 64;
    }
  }
  constexpr bool has(int32_t layer) const {
    return layer >= 1 && layer <= kMaxPolicyLayers && (words_[(layer - 1) / 64] >> (layer - 1) % 64 & 1) != 0;
  }
  constexpr bool empty() const { return last() == 0; }
  /// The deepest layer of the set; 0 when it is empty.
  constexpr int32_t last() const {
    int32_t layer = kMaxPolicyLayers;
    while (layer > 0 && !has(layer)) --layer;
    return layer;
  }
  constexpr bool has_refused() const { return n_refused_ != 0; }
  constexpr int32_t refused() const { return refused_; }

  friend constexpr bool operator==(const LayerSet&, const LayerSet&) = default;

 private:
  uint64_t words_[kMaxPolicyLayers / 64] = {};  // bit layer - 1
  int32_t refused_ = 0;
  int32_t n_refused_ = 0;
};

}  // namespace fathom
