// Cleaning, lower case without accents, words, pieces. Next in the flow: byte_bpe.cc.
#include "src/text/wordpiece.h"

#include <fmt/core.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "src/text/code_ranges.h"
#include "src/text/utf8.h"

namespace fathom::text {
namespace {

constexpr uint32_t kReplacementChar = 0xFFFD;

// Ideographs, each of which is a word.
constexpr uint32_t kIdeographs[][2] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                                       {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};

// Marks, punctuation and controls that Unicode 8 did not have: the reference knows nothing of them (found by comparing
// every character with it).
constexpr uint32_t kNewer[][2] = {
    {0x61D, 0x61D},     {0x7FD, 0x7FD},     {0x890, 0x891},     {0x898, 0x89F},     {0x8CA, 0x8E2},
    {0x9FD, 0x9FE},     {0xA76, 0xA76},     {0xAFA, 0xAFF},     {0xB55, 0xB55},     {0xC04, 0xC04},
    {0xC3C, 0xC3C},     {0xC77, 0xC77},     {0xC84, 0xC84},     {0xD00, 0xD00},     {0xD3B, 0xD3C},
    {0xD81, 0xD81},     {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x180F, 0x180F},   {0x1885, 0x1886},
    {0x1ABF, 0x1ACE},   {0x1B7D, 0x1B7E},   {0x1DF6, 0x1DFB},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},
    {0xA82C, 0xA82C},   {0xA8C5, 0xA8C5},   {0xA8FF, 0xA8FF},   {0xA9BD, 0xA9BD},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAD}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F55, 0x10F59}, {0x10F82, 0x10F89},
    {0x11070, 0x11070}, {0x11073, 0x11074}, {0x110C2, 0x110C2}, {0x110CD, 0x110CD}, {0x111CF, 0x111CF},
    {0x1123E, 0x1123E}, {0x11241, 0x11241}, {0x1133B, 0x1133B}, {0x11438, 0x1143F}, {0x11442, 0x11444},
    {0x11446, 0x11446}, {0x1144B, 0x1144F}, {0x1145A, 0x1145B}, {0x1145D, 0x1145E}, {0x11660, 0x1166C},
    {0x116B9, 0x116B9}, {0x1182F, 0x11837}, {0x11839, 0x1183B}, {0x11938, 0x11938}, {0x1193B, 0x1193C},
    {0x1193E, 0x1193E}, {0x11943, 0x11946}, {0x119D4, 0x119D7}, {0x119DA, 0x119DB}, {0x119E0, 0x119E0},
    {0x119E2, 0x119E2}, {0x11A01, 0x11A0A}, {0x11A33, 0x11A38}, {0x11A3B, 0x11A47}, {0x11A51, 0x11A56},
    {0x11A59, 0x11A5B}, {0x11A8A, 0x11A96}, {0x11A98, 0x11A9C}, {0x11A9E, 0x11AA2}, {0x11B00, 0x11B09},
    {0x11C30, 0x11C36}, {0x11C38, 0x11C3D}, {0x11C3F, 0x11C3F}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71},
    {0x11C92, 0x11CA7}, {0x11CAA, 0x11CB0}, {0x11CB2, 0x11CB3}, {0x11CB5, 0x11CB6}, {0x11D31, 0x11D36},
    {0x11D3A, 0x11D3A}, {0x11D3C, 0x11D3D}, {0x11D3F, 0x11D45}, {0x11D47, 0x11D47}, {0x11D90, 0x11D91},
    {0x11D95, 0x11D95}, {0x11D97, 0x11D97}, {0x11EF3, 0x11EF4}, {0x11EF7, 0x11EF8}, {0x11F00, 0x11F01},
    {0x11F36, 0x11F3A}, {0x11F40, 0x11F40}, {0x11F42, 0x11F4F}, {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2},
    {0x13430, 0x13440}, {0x13447, 0x13455}, {0x16E97, 0x16E9A}, {0x16F4F, 0x16F4F}, {0x16FE2, 0x16FE2},
    {0x16FE4, 0x16FE4}, {0x1CF00, 0x1CF2D}, {0x1CF30, 0x1CF46}, {0x1E000, 0x1E006}, {0x1E008, 0x1E018},
    {0x1E01B, 0x1E021}, {0x1E023, 0x1E024}, {0x1E026, 0x1E02A}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E944, 0x1E94A}, {0x1E95E, 0x1E95F}};

// That had another category then.
constexpr uint32_t kFullStop = 0x166D, kSandhiMark = 0x111C9, kPamudpod = 0x1734;

utf8proc_category_t category(uint32_t c) {
  if (c == kFullStop || c == kSandhiMark) return UTF8PROC_CATEGORY_PO;
  if (c == kPamudpod) return UTF8PROC_CATEGORY_MN;
  return in_ranges(kNewer, c) ? UTF8PROC_CATEGORY_CN : utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || c == '\t' || c == '\n' || c == '\r';
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP;
}

// Neither seen nor a space.
bool is_dropped(uint32_t c) {
  if (c == 0 || c == kReplacementChar) return true;
  if (c == '\t' || c == '\n' || c == '\r') return false;
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

bool is_punctuation(uint32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

// A character without its accents and in lower case; it may become several, or none.
void append_plain(std::string& out, uint32_t c) {
  if (in_ranges(kNewer, c)) return append_code_point(out, c);
  std::array<utf8proc_int32_t, 32> parts;
  const utf8proc_ssize_t n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(), parts.size(),
                                                     UTF8PROC_DECOMPOSE, nullptr);
  for (utf8proc_ssize_t i = 0; i < std::min<utf8proc_ssize_t>(n, std::ssize(parts)); ++i) {
    if (category(static_cast<uint32_t>(parts[size_t(i)])) == UTF8PROC_CATEGORY_MN) continue;
    append_code_point(out, static_cast<uint32_t>(utf8proc_tolower(parts[size_t(i)])));
  }
}

}  // namespace

Result<WordPiece> WordPiece::make(const TokenizerTables& tables, const TokenIndex& index) {
  if (tables.unknown >= 0) return WordPiece(index, tables.unknown, tables.pre != kCased);
  return Error{ErrorCode::format, "tokenizer: WordPiece without an unknown token: convert the model again"};
}

std::string WordPiece::normalized(std::string_view text) const {
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t at = 0; at < text.size(); at += char_bytes(static_cast<unsigned char>(text[at]))) {
    const uint32_t c = code_point(text.data() + at);
    if (is_space(c)) {
      out += ' ';
    } else if (is_dropped(c)) {
      continue;
    } else if (in_ranges(kIdeographs, c)) {
      out += ' ';
      lower_case_ ? append_plain(out, c) : append_code_point(out, c);
      out += ' ';
    } else if (!lower_case_) {
      append_code_point(out, c);
    } else if (c < 0x80) {
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    } else {
      append_plain(out, c);
    }
  }
  return out;
}

Result<void> WordPiece::encode(std::string_view text, std::vector<int32_t>& ids) const {
  const std::string plain = normalized(text);
  std::string name;
  size_t begin = 0;
  const auto end_word = [&](size_t end) {
    if (end > begin) encode_word(std::string_view(plain).substr(begin, end - begin), name, ids);
  };
  for (size_t at = 0; at < plain.size();) {
    const size_t bytes = char_bytes(static_cast<unsigned char>(plain[at]));
    const uint32_t c = code_point(plain.data() + at);
    const bool space = is_space(c);
    if (space || is_punctuation(c)) {
      end_word(at);
      begin = at;
      if (!space) end_word(at + bytes);
      begin = at + bytes;
    }
    at += bytes;
  }
  end_word(plain.size());
  return {};
}

void WordPiece::encode_word(std::string_view word, std::string& name, std::vector<int32_t>& ids) const {
  const auto chars = std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xC0) != 0x80; });
  if (chars > kMaxWordChars) return ids.push_back(unknown_);
  const size_t first = ids.size();
  for (size_t at = 0; at < word.size();) {
    name.assign(at == 0 ? kSpaceMark : std::string_view());
    const size_t mark = name.size();
    name.append(word.substr(at));
    int32_t id = -1;
    if (at > 0 && name.starts_with(kSpaceMark)) name.clear();  // in a text it is a character, and marks no word's begin
    while (name.size() > mark && (id = index_->find(name)) < 0) {
      do name.pop_back();
      while (name.size() > mark && (word[at + name.size() - mark] & 0xC0) == 0x80);
    }
    if (id < 0) {
      ids.resize(first);
      return ids.push_back(unknown_);
    }
    ids.push_back(id);
    at += name.size() - mark;
  }
}

}  // namespace fathom::text
