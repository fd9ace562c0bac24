// is_hex: digests and fingerprints as files spell them. Next in the flow: manifest.cc.
#pragma once

#include <cstddef>
#include <string_view>

namespace fathom {

/// Exactly so many lower-case hex digits.
inline bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

inline constexpr size_t kSha256Digits = 64;

}  // namespace fathom
