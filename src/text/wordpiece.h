// WordPiece: BERT's words, cut greedily into the longest pieces that are tokens. Next in the flow: text/byte_bpe.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/text/tokenizer.h"
#include "src/text/token_index.h"

namespace fathom::text {

inline constexpr std::string_view kCased = "cased";  // TokenizerTables::pre of a model that keeps case and accents

/// Tokens are named as GGUF names them: what begins a word has a space mark in front, what goes on has none.
class WordPiece {
 public:
  /// `index` must outlive it.
  ///   errors   format: no unknown token
  static Result<WordPiece> make(const TokenizerTables& tables, const TokenIndex& index);

  /// Appends the ids of a valid text.
  ///   cost     linear, but for words up to kMaxWordChars characters: the square of theirs
  ///   source   Devlin et al. 2018 and their tokenizer; the Unicode tables are utf8proc's
  Result<void> encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  static constexpr int32_t kMaxWordChars = 100;  // a longer word is unknown as a whole

  WordPiece(const TokenIndex& index, int32_t unknown, bool lower_case)
      : index_(&index), unknown_(unknown), lower_case_(lower_case) {}
  std::string normalized(std::string_view text) const;
  void encode_word(std::string_view word, std::string& name, std::vector<int32_t>& ids) const;

  const TokenIndex* index_;
  int32_t unknown_;
  bool lower_case_;
};

}  // namespace fathom::text
