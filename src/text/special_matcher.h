// SpecialMatcher: the longest special token at a place of the text. Next in the flow: text/merge.h.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "src/text/token_index.h"

namespace fathom::text {

/// Special tokens are short, so that looking at every place of a text stays linear whatever the file holds.
inline constexpr size_t kMaxSpecialBytes = 256;

/// A trie over bytes whose edges lie in one hash table.
class SpecialMatcher {
 public:
  /// `total_bytes` bounds the bytes of all tokens to come.
  explicit SpecialMatcher(size_t total_bytes) : edges_(total_bytes) {}

  /// Adds a non-empty token of at most kMaxSpecialBytes.
  void add(std::string_view token, int32_t id);

  struct Match {
    int32_t id = -1;  // -1: none
    size_t bytes = 0;
  };
  /// The longest token that `text` starts with.
  Match longest(std::string_view text) const noexcept {
    if (text.empty() || !starts_[static_cast<unsigned char>(text[0])]) return {};
    return walk(text);
  }

  bool empty() const noexcept { return ids_.size() == 1; }

 private:
  Match walk(std::string_view text) const noexcept;

  PairIndex edges_;                  // (node, byte) to node
  std::vector<int32_t> ids_ = {-1};  // [nodes] the token that ends there
  std::array<bool, 256> starts_{};   // bytes that some token starts with
};

}  // namespace fathom::text
