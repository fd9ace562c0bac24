// The length of a piece's text is found by encoding a guess and correcting it. Next: piece_pool.cc.
#include "src/calibrate/piece_cutter.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "src/text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kMargin = 4;               // tokens behind the last, which the text's end may have changed
constexpr size_t kBytesPerToken = 4;        // the first guess; English has 4 to 5, code 3
constexpr size_t kMostBytesPerToken = 256;  // beyond, it is no text: whitespace, or one sign again and again
constexpr size_t kLongestWord = 64;         // bytes; scripts without spaces begin at any character

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Without the bytes of a character that the text's end has cut.
std::string_view whole_characters(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(text.size(), 3); ++back) {
    const char lead = text[text.size() - back];
    if (continues_character(lead)) continue;
    const bool cut = text::char_bytes(static_cast<unsigned char>(lead)) > back;
    return cut ? text.substr(0, text.size() - back) : text;
  }
  return text;
}

}  // namespace

PieceCutter::PieceCutter(const Tokenizer& tokenizer, DocumentFiles& files, int32_t piece_tokens)
    : tokenizer_(tokenizer), files_(files), piece_tokens_(static_cast<size_t>(piece_tokens)) {}

Result<uint64_t> PieceCutter::word_start(const Document& document, uint64_t offset, uint64_t limit) {
  if (offset == 0 || offset >= limit) return std::min(offset, limit);
  FATHOM_TRY(const std::string_view text, files_.read(document, offset, kLongestWord));
  size_t character = 0;
  while (character < text.size() && continues_character(text[character])) ++character;
  size_t start = text.find_first_of(kWhitespace, character);
  if (start == std::string_view::npos) {
    start = character;
  } else if (text[start] == ' ' && tokenizer_.tables().add_space_prefix && tokenizer_.tables().model == "llama") {
    ++start;  // the tokenizer puts one there itself
  }
  return std::min(offset + start, limit);
}

Result<Cut> PieceCutter::cut(const Document& document, uint64_t begin, uint64_t limit) {
  const size_t enough = piece_tokens_ + kMargin;
  const size_t aim = enough + piece_tokens_ / 16;
  const size_t too_many = enough + piece_tokens_ / 8;
  const uint64_t most = std::min<uint64_t>(limit - begin, piece_tokens_ * kMostBytesPerToken);
  Cut best;
  for (uint64_t bytes = piece_tokens_ * kBytesPerToken;;) {
    bytes = std::min(bytes, most);
    FATHOM_TRY(std::string_view text, files_.read(document, begin, bytes));
    const bool to_limit = begin + bytes == limit;
    if (!to_limit) text = whole_characters(text);
    bytes = text.size();
    FATHOM_TRY(auto tokens, encode(document, begin, text));
    const size_t n = tokens.size();
    if (n < enough && !(to_limit && limit == document.bytes && n >= piece_tokens_)) {
      if (best.fits() || to_limit) return best;
      if (bytes + 3 >= most) {
        best.bytes = bytes;
        return best;
      }
      bytes = std::clamp<uint64_t>(bytes * aim / std::max<size_t>(n, 1), bytes + 16, bytes * 8 + 16);
      continue;
    }
    tokens.resize(piece_tokens_);
    best.tokens = std::move(tokens);
    best.bytes = bytes;
    const uint64_t shorter = bytes * aim / n;
    if (n <= too_many || shorter >= bytes) return best;
    bytes = shorter;
  }
}

Result<std::vector<int32_t>> PieceCutter::whole(const Document& document) {
  FATHOM_TRY(const std::string_view text, files_.read(document, 0, document.bytes));
  return encode(document, 0, text);
}

Result<std::vector<int32_t>> PieceCutter::encode(const Document& document, uint64_t offset, std::string_view text) {
  auto tokens = tokenizer_.encode(text, {.bos = false});
  if (tokens) return tokens;
  const std::string place =
      document.line > 0 ? fmt::format("line {}", document.line) : fmt::format("byte {}", document.offset + offset);
  return Error{tokens.error().code,
               fmt::format("file {}, {}: {}", files_.path(document), place, tokens.error().message)};
}

}  // namespace fathom
