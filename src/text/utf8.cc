// UTF-8 by the table of well-formed byte sequences; the same answers as Python's bytes.decode("utf-8", "replace").
#include "src/text/utf8.h"

#include <cstring>

namespace fathom::text {

void append_code_point(std::string& dst, uint32_t c) {
  const auto put = [&](uint32_t b) { dst.push_back(static_cast<char>(b)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

Utf8Step next_step(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {Utf8Step::Kind::character, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Step::Kind::invalid, 1};
  // The second byte's range depends on the lead: no overlong forms, no surrogates, nothing above U+10FFFF.
  unsigned char low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  const size_t need = char_bytes(lead);
  for (size_t i = 1; i < need; ++i) {
    if (i == bytes.size()) return {Utf8Step::Kind::unfinished, i};
    if (at(i) < low || at(i) > high) return {Utf8Step::Kind::invalid, i};
    low = 0x80, high = 0xBF;
  }
  return {Utf8Step::Kind::character, need};
}

namespace {

// Bytes of the longest valid start.
size_t valid_start(std::string_view bytes) {
  size_t pos = 0;
  while (pos < bytes.size()) {
    uint64_t eight;
    if (bytes.size() - pos >= sizeof eight) {
      std::memcpy(&eight, bytes.data() + pos, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        pos += sizeof eight;
        continue;
      }
    }
    const Utf8Step step = next_step(bytes.substr(pos));
    if (step.kind != Utf8Step::Kind::character) break;
    pos += step.bytes;
  }
  return pos;
}

}  // namespace

std::string_view valid_text(std::string_view bytes, std::string& storage) {
  size_t pos = valid_start(bytes);
  if (pos == bytes.size()) return bytes;
  storage.clear();
  storage.append(bytes.substr(0, pos));
  while (pos < bytes.size()) {
    storage.append(kReplacement);
    pos += next_step(bytes.substr(pos)).bytes;
    const size_t valid = valid_start(bytes.substr(pos));
    storage.append(bytes.substr(pos, valid));
    pos += valid;
  }
  return storage;
}

void take_whole_characters(std::string& pending, std::string& text) {
  size_t pos = 0;
  while (pos < pending.size()) {
    const Utf8Step step = next_step(std::string_view(pending).substr(pos));
    if (step.kind == Utf8Step::Kind::unfinished) break;
    if (step.kind == Utf8Step::Kind::character) {
      text.append(pending, pos, step.bytes);
    } else {
      text.append(kReplacement);
    }
    pos += step.bytes;
  }
  pending.erase(0, pos);
}

std::string printable(std::string_view bytes) {
  constexpr size_t kShown = 60;
  std::string storage, shown;
  for (const char c : valid_text(bytes.substr(0, kShown), storage)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      constexpr char kDigits[] = "0123456789abcdef";
      shown.append("\\x").push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
      shown.push_back(kDigits[c & 15]);
    } else {
      shown.push_back(c);
    }
  }
  return bytes.size() > kShown ? shown + "..." : shown;
}

}  // namespace fathom::text
