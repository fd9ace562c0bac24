// Tokenizer: text to token ids and back, from the model file's own tables.
// Next in the flow: text/chat.h (the model's chat template), then model/model.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"

namespace fathom {

/// Kinds of tokens as GGUF numbers them.
enum class TokenKind : uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

/// The tokenizer section of a model file, not yet checked.
struct TokenizerTables {
  std::string model;                // tokenizer.ggml.model: "llama" (SentencePiece BPE), "gpt2" (byte BPE), "no_vocab"
  std::string pre;                  // tokenizer.ggml.pre, byte BPE only
  std::vector<std::string> tokens;  // [vocab]
  std::vector<float> scores;        // [vocab] or empty
  std::vector<TokenKind> kinds;     // [vocab] or empty: all normal
  std::vector<std::string> merges;  // "left right"
  int32_t bos = -1, eos = -1, unknown = -1, padding = -1, eot = -1;
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = true;
  std::string chat_template;  // empty: none
};

struct EncodeOptions {
  bool special = false;  // control tokens in the text match as tokens (chat templates); user-defined ones always do
  bool bos = true;       // put the beginning-of-text token first where the model wants one
};

/// A stretch of text of which it is known whether control tokens in it are meant (a template) or only spelled (a user).
struct TextSegment {
  std::string_view text;
  bool special = false;
};

class FATHOM_API Tokenizer {
 public:
  /// Checks the tables and builds the matchers.
  ///   errors   format: tables of unequal length, merges that name unknown tokens, ids out of range, duplicates,
  ///            special tokens longer than 256 bytes;
  ///            unsupported: an unknown tokenizer model or pre-tokenizer, by name
  static Result<Tokenizer> make(TokenizerTables tables);

  /// Ids of a text. Invalid UTF-8 becomes U+FFFD first.
  ///   errors   unsupported: the model has no vocabulary; capacity: the pre-tokenizer's match limit
  ///   cost     linear in the text's length
  Result<std::vector<int32_t>> encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// A bound from below on the number of ids of a text, from the longest token: for refusing a text before encode() has
  /// worked on all of it.
  ///   cost     one look at each byte
  size_t at_least(std::string_view text) const noexcept;

  /// Ids of segments that follow one another: merges cross their borders, control tokens match in special ones only.
  ///   errors   as encode()
  Result<std::vector<int32_t>> encode_segments(std::span<const TextSegment> segments, bool bos = true) const;

  /// Bytes of one token as they are appended to the text; control tokens give nothing unless `special`.
  std::string_view piece(int32_t id, bool special = false) const noexcept;

  /// The text of ids; bytes that do not complete a UTF-8 character become U+FFFD.
  std::string decode(std::span<const int32_t> ids, bool special = false) const;

  int32_t vocab() const noexcept;  // 0 without a vocabulary
  int32_t bos() const noexcept;    // -1: none
  int32_t eos() const noexcept;
  bool adds_bos() const noexcept;
  bool ends_text(int32_t id) const noexcept;  // eos, end of turn
  TokenKind kind(int32_t id) const noexcept;
  const TokenizerTables& tables() const noexcept;

  struct Impl;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// Turns ids into text as they come, holding back bytes until a UTF-8 character is whole.
class FATHOM_API StreamDecoder {
 public:
  /// `continues`: the ids follow text that is already shown. Otherwise the space that the model puts before every text
  /// is taken off again.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool special = false, bool continues = false);
  /// The text that is complete after this token; may be empty.
  std::string push(int32_t id);
  /// What is left at the end, unfinished bytes as U+FFFD.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool special_;
  bool first_;
  std::string pending_;
};

}  // namespace fathom
