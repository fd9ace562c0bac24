// The text of a piece: where it may begin, and how far it reaches. Next: piece_pool.h.
#pragma once

#include <cstdint>
#include <vector>

#include "fathom/text/tokenizer.h"
#include "src/calibrate/documents.h"

namespace fathom {

/// Tokens from a place on, and the text that they were made of.
struct Cut {
  std::vector<int32_t> tokens;  // [piece_tokens], or none
  uint64_t bytes = 0;           // without tokens: of text so sparse that no piece begins in it; 0: too little is left

  bool fits() const { return !tokens.empty(); }
};

class PieceCutter {
 public:
  PieceCutter(const Tokenizer& tokenizer, DocumentFiles& files, int32_t piece_tokens);

  /// The first place from `offset` on that begins a word, or at least a character; `limit` where there is none.
  Result<uint64_t> word_start(const Document& document, uint64_t offset, uint64_t limit);

  /// The tokens from `begin`, the start of a character, on. A few tokens more are part of the text, so that its end
  /// does not break the last word, except at the document's end.
  ///   limit    the start of a character that the text does not pass, or the document's end
  ///   cost     two encodings as a rule
  Result<Cut> cut(const Document& document, uint64_t begin, uint64_t limit);

  /// All tokens of a document.
  Result<std::vector<int32_t>> whole(const Document& document);

 private:
  Result<std::vector<int32_t>> encode(const Document& document, uint64_t offset, std::string_view text);

  const Tokenizer& tokenizer_;
  DocumentFiles& files_;
  size_t piece_tokens_;
};

}  // namespace fathom
