// TokenIndex: strings to ids. PairIndex: pairs of ids to merges. Two flat hash tables, built once, then read only.
// Next in the flow: text/special_matcher.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace fathom::text {

/// Ids by string. The strings stay with their owner, who gives them by id: 8 bytes a slot matter with 262,144 tokens.
class TokenIndex {
 public:
  using StringOf = std::string_view (*)(const void* owner, int32_t id);

  TokenIndex(size_t capacity, const void* owner, StringOf string_of) : owner_(owner), string_of_(string_of) {
    size_t slots = 16;
    while (slots < 2 * capacity) slots *= 2;
    slots_.resize(slots);
  }

  /// The id that already has the string of `id`, else -1 after adding it.
  int32_t add(int32_t id) {
    const std::string_view token = string_of_(owner_, id);
    Slot& slot = slots_[place(token)];
    if (slot.id >= 0) return slot.id;
    slot = {check(hash(token)), id};
    if (token.size() > longest_) longest_ = token.size();
    return -1;
  }

  /// The id of a string, -1 where there is none.
  int32_t find(std::string_view token) const noexcept { return token.size() > longest_ ? -1 : slots_[place(token)].id; }

 private:
  struct Slot {
    uint32_t check = 0;  // upper half of the hash
    int32_t id = -1;
  };

  static uint64_t hash(std::string_view token) { return XXH3_64bits(token.data(), token.size()); }
  static uint32_t check(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }

  // The slot of a string, or the free one where it would stand.
  size_t place(std::string_view token) const noexcept {
    const uint64_t h = hash(token);
    size_t at = h & (slots_.size() - 1);
    while (slots_[at].id >= 0 && !(slots_[at].check == check(h) && string_of_(owner_, slots_[at].id) == token)) {
      at = (at + 1) & (slots_.size() - 1);
    }
    return at;
  }

  const void* owner_;
  StringOf string_of_;
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
