// NFC by utf8proc's tables, stretch by stretch: text is copied up to a character that may change, and the stretch
// around it, from one safe border to the next, is decomposed, ordered and composed.
#include "src/text/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "src/text/code_ranges.h"
#include "src/text/utf8.h"

namespace fathom::text {
namespace {

constexpr uint32_t kFirstMark = 0x300;  // below it every character is its own NFC and combines with nothing before it

// Characters that normalisation knows and Unicode 9 did not have (from the Unicode data's DerivedAge).
constexpr uint32_t kNewer[][2] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
    {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C},   {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45},
    {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
};

// What a character does under NFC.
enum class Role : uint8_t {
  base,   // stays as it is, joins nothing before it; what follows may join it
  apart,  // stays as it is and joins nothing at all
  joins,  // may change, or join or pass what is before it
};

Role role(uint32_t c) {
  if (c < kFirstMark) return Role::base;
  // Hangul vowels and finals. U+11A7 between them joins nothing, but utf8proc 2.8 would swallow it as a final.
  if ((0x1161 <= c && c <= 0x1175) || (0x11A8 <= c && c <= 0x11C2)) return Role::joins;
  if (0x1160 <= c && c <= 0x11FF) return Role::base;
  if (0xAC00 <= c && c <= 0xD7A3) return Role::base;
  const utf8proc_property_t* p = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  const bool second_of_pair = p->comb_index != UINT16_MAX && p->comb_index >= 0x8000;
  const bool decomposes = p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0;
  if (p->combining_class == 0 && !second_of_pair && !decomposes) return Role::base;
  return in_ranges(kNewer, c) ? Role::apart : Role::joins;
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
  size_t border = 0;  // where a stretch would begin: at the last base
  std::vector<utf8proc_int32_t> chars;
  const auto next = [&](size_t i) { return i + char_bytes(static_cast<unsigned char>(text[i])); };
  const auto role_at = [&](size_t i) {
    constexpr unsigned char kMarkLead = 0xCC;  // the first byte of U+0300
    return static_cast<unsigned char>(text[i]) < kMarkLead ? Role::base : role(code_point(text.data() + i));
  };
  for (size_t i = 0; i < text.size();) {
    const Role here = role_at(i);
    if (here != Role::joins) {
      border = here == Role::base ? i : next(i);
      i = next(i);
      continue;
    }
    size_t end = next(i);
    while (end < text.size() && role_at(end) == Role::joins) end = next(end);
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
