// Byte BPE. A word's bytes are merged by rank, the lowest first, the leftmost among equals.
#include "src/text/byte_bpe.h"

#include <fmt/core.h>

#include "src/text/nfc.h"
#include "src/text/utf8.h"

namespace fathom::text {
namespace {

// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes take the code points from 256 on in order.
struct Alphabet {
  static constexpr int kChars = 256 + 68;
  std::array<int16_t, kChars> byte_of;  // by code point, -1: not of the alphabet
  Alphabet() {
    byte_of.fill(-1);
    int next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (0x21 <= b && b <= 0x7E) || (0xA1 <= b && b <= 0xAC) || (0xAE <= b && b <= 0xFF);
      byte_of[printable ? b : next++] = static_cast<int16_t>(b);
    }
  }
};

}  // namespace

std::optional<std::string> alphabet_bytes(std::string_view token) {
  static const Alphabet alphabet;
  std::string bytes;
  while (!token.empty()) {
    const Utf8Step step = next_step(token);
    if (step.kind != Utf8Step::Kind::character) return std::nullopt;
    const uint32_t c = code_point(token.data());
    if (c >= Alphabet::kChars || alphabet.byte_of[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet.byte_of[c]));
    token.remove_prefix(step.bytes);
  }
  return bytes;
}

ByteBpe::ByteBpe(Pretokenizer pretokenizer, const Pretokenizer::Recipe& recipe, size_t merges, size_t special_bytes,
                 const std::vector<std::string_view>& words)
    : pretokenizer_(std::move(pretokenizer)),
      merges_(merges),
      user_defined_(special_bytes),
      words_(recipe.whole_words ? words.size() : 0, &words,
             [](const void* words, int32_t id) {
               return (*static_cast<const std::vector<std::string_view>*>(words))[static_cast<size_t>(id)];
             }),
      nfc_(recipe.nfc),
      whole_words_(recipe.whole_words) {
  bytes_.fill(-1);
}

Result<ByteBpe> ByteBpe::make(const TokenizerTables& tables, const TokenIndex& index,
                              const std::vector<std::string_view>& pieces) {
  const Pretokenizer::Recipe* recipe = Pretokenizer::recipe(tables.pre.empty() ? "default" : tables.pre);
  if (recipe == nullptr) {
    return Error{
        ErrorCode::unsupported,
        fmt::format(
            "tokenizer.ggml.pre \"{}\" is not known: models with qwen2, llama-bpe, gpt-2, smollm or default work",
            printable(tables.pre))};
  }
  FATHOM_TRY(Pretokenizer pretokenizer, Pretokenizer::make(*recipe));
  size_t special_bytes = 0;
  for (size_t id = 0; id < tables.tokens.size(); ++id) {
    if (tables.kinds[id] == TokenKind::user_defined) special_bytes += tables.tokens[id].size();
  }
  ByteBpe made(std::move(pretokenizer), *recipe, tables.merges.size(), special_bytes, pieces);
  for (size_t i = 0; i < tables.tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (tables.kinds[i] == TokenKind::user_defined && !tables.tokens[i].empty()) {
      made.user_defined_.add(tables.tokens[i], id);
    }
    if (tables.kinds[i] != TokenKind::normal) continue;
    if (pieces[i].size() == 1) made.bytes_[static_cast<unsigned char>(pieces[i][0])] = id;
    if (recipe->whole_words && !pieces[i].empty()) made.words_.add(id);
  }
  for (size_t rank = 0; rank < tables.merges.size(); ++rank) {
    FATHOM_TRY(made.add_merge(index, tables.merges[rank], static_cast<uint32_t>(rank)));
  }
  return made;
}

Result<void> ByteBpe::add_merge(const TokenIndex& index, std::string_view merge, uint32_t rank) {
  const auto bad = [&](std::string_view what) {
    return Error{ErrorCode::format, fmt::format("tokenizer.ggml.merges[{}] \"{}\" {}: convert the model again", rank,
                                                printable(merge), what)};
  };
  const size_t space = merge.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == merge.size())
    return bad("is not two tokens with a space between");
  const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
  const int32_t left_id = index.find(left), right_id = index.find(right);
  const int32_t merged_id = index.find(std::string(left).append(right));
  if (left_id < 0 || right_id < 0) return bad("names a token that is not in the vocabulary");
  if (merged_id < 0) return bad("makes a token that is not in the vocabulary");
  if (!merges_.add(left_id, right_id, {rank, merged_id})) return bad("comes twice");
  return {};
}

Result<void> ByteBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  if (user_defined_.empty()) return encode_words(text, ids);
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const SpecialMatcher::Match match = user_defined_.longest(text.substr(pos));
    if (match.id < 0) {
      ++pos;
      continue;
    }
    FATHOM_TRY(encode_words(text.substr(begin, pos - begin), ids));
    ids.push_back(match.id);
    begin = pos += match.bytes;
  }
  return encode_words(text.substr(begin), ids);
}

Result<void> ByteBpe::encode_words(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return {};
  std::string storage;
  if (nfc_) text = nfc(text, storage);
  std::vector<std::string_view> words;
  FATHOM_TRY(pretokenizer_.split(text, words));
  std::vector<Symbol> symbols;
  MergeScratch scratch;
  const auto lookup = [&](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); };
  for (const std::string_view word : words) {
    if (whole_words_) {
      const int32_t id = words_.find(word);
      if (id >= 0) {
        ids.push_back(id);
        continue;
      }
    }
    symbols.clear();
    for (size_t i = 0; i < word.size(); ++i) {
      const auto byte = static_cast<unsigned char>(word[i]);
      if (bytes_[byte] < 0) {
        return Error{ErrorCode::format,
                     fmt::format("byte 0x{:02X} of the text has no token in this vocabulary: leave it out", byte)};
      }
      symbols.push_back({static_cast<uint32_t>(i), 1, bytes_[byte], false});
    }
    if (symbols.size() <= kShortWord) {
      merge_short(symbols, scratch, lookup);
    } else {
      merge_long(symbols, scratch, lookup);
    }
    for (const Symbol& s : symbols) ids.push_back(s.id);
  }
  return {};
}

}  // namespace fathom::text
