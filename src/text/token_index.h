// TokenIndex: strings to ids. PairIndex: pairs of ids to merges. Two flat hash tables, built once, then read only.
// Next in the flow: text/special_matcher.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace fathom::text {

/// Ids by string. The strings must outlive the index.
class TokenIndex {
 public:
  explicit TokenIndex(size_t capacity) {
    size_t slots = 16;
    while (slots < 2 * capacity) slots *= 2;
    slots_.resize(slots);
  }

  /// The id that already has this string, else -1 after adding it.
  int32_t add(std::string_view token, int32_t id) {
    const uint64_t hash = XXH3_64bits(token.data(), token.size());
    size_t at = hash & (slots_.size() - 1);
    for (; slots_[at].id >= 0; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].check == static_cast<uint32_t>(hash >> 32) && slots_[at].token() == token) return slots_[at].id;
    }
    slots_[at] = {token.data(), static_cast<uint32_t>(token.size()), static_cast<uint32_t>(hash >> 32), id};
    if (token.size() > longest_) longest_ = token.size();
    return -1;
  }

  /// The id of a string, -1 where there is none.
  int32_t find(std::string_view token) const noexcept {
    if (token.size() > longest_) return -1;
    const uint64_t hash = XXH3_64bits(token.data(), token.size());
    for (size_t at = hash & (slots_.size() - 1); slots_[at].id >= 0; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].check == static_cast<uint32_t>(hash >> 32) && slots_[at].token() == token) return slots_[at].id;
    }
    return -1;
  }

 private:
  struct Slot {
    const char* data = nullptr;
    uint32_t size = 0;
    uint32_t check = 0;  // upper half of the hash
    int32_t id = -1;
    std::string_view token() const { return {data, size}; }
  };
  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t longest_ = 0;
};

/// What two neighbours become, and how early: a lower priority is merged first. id -1: they do not merge.
struct Merge {
  uint32_t priority = 0;
  int32_t id = -1;
};

/// Merges by a pair of ids.
class PairIndex {
 public:
  explicit PairIndex(size_t capacity) {
    size_t slots = 16;
    while (slots < 2 * capacity) slots *= 2, ++bits_;
    slots_.resize(slots);
  }

  /// False when the pair is already there.
  bool add(int32_t left, int32_t right, Merge merge) {
    Slot& slot = slots_[place(key(left, right))];
    if (slot.key != kEmpty) return false;
    slot = {key(left, right), merge};
    return true;
  }

  Merge find(int32_t left, int32_t right) const noexcept { return slots_[place(key(left, right))].merge; }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // The slot of a key, or the empty one where it would go.
  size_t place(uint64_t key) const noexcept {
    size_t at = key * 0x9E3779B97F4A7C15u >> (64 - bits_);
    while (slots_[at].key != key && slots_[at].key != kEmpty) at = (at + 1) & (slots_.size() - 1);
    return at;
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  int bits_ = 4;
};

}  // namespace fathom::text
