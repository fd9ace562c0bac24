// What a text is, as two hashes: of its bytes, and of its words whatever stands between them. Next: documents.h.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#define XXH_STATIC_LINKING_ONLY  // the streaming state by value
#include <xxhash.h>

namespace fathom {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  friend auto operator<=>(const Hash128&, const Hash128&) = default;
};

inline constexpr std::string_view kWhitespace = " \t\n\r\v\f";

constexpr bool is_whitespace(char c) { return c == ' ' || ('\t' <= c && c <= '\r'); }

/// XXH3-128 of what is added.
class Hash {
 public:
  Hash() { XXH3_128bits_reset(&state_); }
  void add(const void* data, size_t bytes) { XXH3_128bits_update(&state_, data, bytes); }
  void add(std::string_view text) { add(text.data(), text.size()); }
  void add_number(uint64_t value) {  // the same bytes on every machine
    std::array<unsigned char, 8> bytes;
    for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(value), value >>= 8;
    add(bytes.data(), bytes.size());
  }
  Hash128 digest() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(&state_);
    return {.high = hash.high64, .low = hash.low64};
  }

 private:
  XXH3_state_t state_;
};

/// Hashes a text that comes in parts, in constant memory.
class ContentHash {
 public:
  void add(std::string_view text) {
    exact_.add(text);
    for (const char c : text) {
      if (is_whitespace(c)) {
        gap_ = !blank_;
        continue;
      }
      if (gap_) put(' ');
      put(c);
      gap_ = blank_ = false;
    }
  }
  bool blank() const { return blank_; }
  Hash128 exact() const { return exact_.digest(); }

  /// Of the text with each run of whitespace as one space, and none at its ends.
  Hash128 collapsed() {
    flush();
    return collapsed_.digest();
  }

 private:
  void put(char c) {
    if (filled_ == words_.size()) flush();
    words_[filled_++] = c;
  }
  void flush() {
    collapsed_.add(words_.data(), filled_);
    filled_ = 0;
  }

  Hash exact_, collapsed_;
  std::array<char, 4096> words_;  // collapsed text on its way to the hash
  size_t filled_ = 0;
  bool gap_ = false;
  bool blank_ = true;
};

}  // namespace fathom
