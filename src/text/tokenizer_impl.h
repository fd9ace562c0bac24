// What a Tokenizer owns: the file's tables, and what was built from them. Next in the flow: text/tokenizer.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fathom/text/tokenizer.h"
#include "src/text/byte_bpe.h"
#include "src/text/sentencepiece.h"
#include "src/text/special_matcher.h"
#include "src/text/token_index.h"
#include "src/text/wordpiece.h"

namespace fathom {

struct Tokenizer::Impl {
  TokenizerTables tables;                        // kinds are filled
  bool marks_spaces = false;                     // tokens show them, and have other bytes than their names
  size_t longest = 1;                            // bytes of the longest token's name
  std::string pool;                              // bytes of tokens that differ from their names
  std::vector<std::string_view> pieces;          // [vocab]
  std::vector<bool> ends;                        // [vocab]
  std::optional<text::TokenIndex> index;         // all tokens, while an encoder needs it
  std::optional<text::SpecialMatcher> specials;  // control and user-defined tokens as the file spells them
  std::variant<std::monostate, text::SentencePieceBpe, text::ByteBpe, text::WordPiece> encoder;

  void fill_pieces();
  void fill_specials();
  Result<void> encode_run(std::string_view run, std::vector<int32_t>& ids) const;
  Result<void> encode_special(std::string_view text, std::string& run, std::vector<int32_t>& ids) const;
};

}  // namespace fathom
