// UTF-8: reading code points, and turning any bytes into valid text. Next in the flow: text/token_index.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom::text {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";    // U+2581, SentencePiece's visible space

/// Bytes of the character that starts with `lead`, in valid text.
constexpr size_t char_bytes(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

/// The code point at `p`, in valid text.
inline uint32_t code_point(const char* p) {
  const auto b = [&](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(p[i])); };
  if (b(0) < 0x80) return b(0);
  if (b(0) < 0xE0) return (b(0) & 0x1F) << 6 | (b(1) & 0x3F);
  if (b(0) < 0xF0) return (b(0) & 0x0F) << 12 | (b(1) & 0x3F) << 6 | (b(2) & 0x3F);
  return (b(0) & 0x07) << 18 | (b(1) & 0x3F) << 12 | (b(2) & 0x3F) << 6 | (b(3) & 0x3F);
}

/// Appends a code point below 0x110000.
void append_code_point(std::string& dst, uint32_t c);

/// One step through bytes that may not be UTF-8.
struct Utf8Step {
  enum class Kind : uint8_t { character, invalid, unfinished } kind;
  size_t bytes;  // of the character, of the maximal invalid subpart, or of what is there of an unfinished character
};

/// Reads at the start of non-empty `bytes`; `unfinished` means that more bytes could still make a character of it.
///   source   Unicode 15, section 3.9, table 3-7 and "U+FFFD substitution of maximal subparts"
Utf8Step next_step(std::string_view bytes);

/// The text itself where it is valid, else `storage` with U+FFFD for each maximal invalid subpart.
std::string_view valid_text(std::string_view bytes, std::string& storage);

/// Moves what is decided of `pending` to the end of `text`: at most three bytes of an unfinished character stay.
void take_whole_characters(std::string& pending, std::string& text);

/// Text from a file for an error message: at most 60 bytes on one line, control characters as \xNN.
std::string printable(std::string_view bytes);

}  // namespace fathom::text
