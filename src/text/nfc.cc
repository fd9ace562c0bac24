// NFC by utf8proc's tables, stretch by stretch: text is copied up to a character that may change, and the stretch
// around it, from one safe border to the next, is decomposed, ordered and composed.
#include "src/text/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "src/text/utf8.h"

namespace fathom::text {
namespace {

constexpr uint32_t kFirstMark = 0x300;  // below it every character is its own NFC and combines with nothing before it

// The character itself is never changed by NFC and never combines with what stands before it.
bool inert(uint32_t c) {
  if (c < kFirstMark) return true;
  if (0x1160 <= c && c <= 0x11FF) return false;  // Hangul vowels and finals join what is before
  if (0xAC00 <= c && c <= 0xD7A3) return true;
  const utf8proc_property_t* p = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  const bool second_of_pair = p->comb_index != UINT16_MAX && p->comb_index >= 0x8000;
  const bool decomposes = p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0;
  return p->combining_class == 0 && !second_of_pair && !decomposes;
}

// Characters with a class other than 0 keep their order within a class.
void order_marks(std::vector<utf8proc_int32_t>& chars) {
  const auto mark_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (size_t i = 0; i < chars.size();) {
    size_t end = i;
    while (end < chars.size() && mark_class(chars[end]) != 0) ++end;
    if (end - i > 1) {
      std::stable_sort(chars.begin() + static_cast<ptrdiff_t>(i), chars.begin() + static_cast<ptrdiff_t>(end),
                       [&](auto a, auto b) { return mark_class(a) < mark_class(b); });
    }
    i = std::max(end, i + 1);
  }
}

void append_nfc(std::string_view stretch, std::vector<utf8proc_int32_t>& chars, std::string& dst) {
  chars.clear();
  for (size_t i = 0; i < stretch.size(); i += char_bytes(static_cast<unsigned char>(stretch[i]))) {
    utf8proc_int32_t parts[8];  // canonical decompositions have at most four
    int last_class = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point(stretch.data() + i)), parts, 8,
                                           UTF8PROC_DECOMPOSE, &last_class);
    chars.insert(chars.end(), parts, parts + n);
  }
  order_marks(chars);
  const auto n = utf8proc_normalize_utf32(chars.data(), static_cast<utf8proc_ssize_t>(chars.size()),
                                          static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  for (utf8proc_ssize_t i = 0; i < n; ++i) append_code_point(dst, static_cast<uint32_t>(chars[i]));
}

}  // namespace

std::string_view nfc(std::string_view text, std::string& storage) {
  bool changed = false;
  size_t copied = 0;  // text before this is in storage, once something changed
  size_t border = 0;  // start of the last inert character
  std::vector<utf8proc_int32_t> chars;
  const auto next = [&](size_t i) { return i + char_bytes(static_cast<unsigned char>(text[i])); };
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0xCC || inert(code_point(text.data() + i))) {
      border = i;
      i = next(i);
      continue;
    }
    size_t end = next(i);
    while (end < text.size() && !inert(code_point(text.data() + end))) end = next(end);
    if (!changed) storage.clear();
    changed = true;
    storage.append(text.substr(copied, border - copied));
    append_nfc(text.substr(border, end - border), chars, storage);
    copied = border = i = end;
  }
  if (!changed) return text;
  storage.append(text.substr(copied));
  return storage;
}

}  // namespace fathom::text
