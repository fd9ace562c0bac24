// The trie of special tokens: built once, walked at places whose first byte can start one.
#include "src/text/special_matcher.h"

namespace fathom::text {

void SpecialMatcher::add(std::string_view token, int32_t id) {
  starts_[static_cast<unsigned char>(token[0])] = true;
  int32_t node = 0;
  for (const char c : token) {
    const int32_t byte = static_cast<unsigned char>(c);
    int32_t next = edges_.find(node, byte).id;
    if (next < 0) {
      next = static_cast<int32_t>(ids_.size());
      ids_.push_back(-1);
      edges_.add(node, byte, {0, next});
    }
    node = next;
  }
  ids_[node] = id;
}

SpecialMatcher::Match SpecialMatcher::walk(std::string_view text) const noexcept {
  Match best;
  int32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    node = edges_.find(node, static_cast<unsigned char>(text[i])).id;
    if (node < 0) break;
    if (ids_[node] >= 0) best = {ids_[node], i + 1};
  }
  return best;
}

}  // namespace fathom::text
