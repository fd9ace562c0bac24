// ByteBpe: words of a pre-tokenizer, their bytes merged by rank, as GPT-2, Llama 3 and Qwen do it.
// Next in the flow: text/tokenizer.cc, which puts special tokens around it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/text/tokenizer.h"
#include "src/text/merge.h"
#include "src/text/pretokenizer.h"
#include "src/text/special_matcher.h"
#include "src/text/token_index.h"

namespace fathom::text {

/// The bytes that a token's text stands for in GPT-2's alphabet (printable characters for all 256 bytes); nothing where
/// a character is not of it.
std::optional<std::string> alphabet_bytes(std::string_view token);

class ByteBpe {
 public:
  /// Builds the matchers. `tables` and `pieces`, the bytes of each token, must outlive the encoder; `index` holds all
  /// tokens.
  ///   errors   format: merges that name unknown tokens or come twice; unsupported: the pre-tokenizer, by name
  static Result<ByteBpe> make(const TokenizerTables& tables, const TokenIndex& index,
                              const std::vector<std::string_view>& pieces);

  /// Appends the ids of a valid text.
  ///   errors   capacity: the pre-tokenizer's match limit; format: a byte without a token
  ///   cost     linear, and n log n in the longest word
  Result<void> encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  ByteBpe(Pretokenizer pretokenizer, const Pretokenizer::Recipe& recipe, size_t merges, size_t special_bytes,
          const std::vector<std::string_view>& words);
  Result<void> add_merge(const TokenIndex& index, std::string_view merge, uint32_t rank);
  Result<void> encode_words(std::string_view text, std::vector<int32_t>& ids) const;

  Pretokenizer pretokenizer_;
  PairIndex merges_;
  SpecialMatcher user_defined_;
  TokenIndex words_;                // tokens by their bytes, where whole words are looked up
  std::array<int32_t, 256> bytes_;  // tokens of bytes, -1: none
  bool nfc_, whole_words_;
};

}  // namespace fathom::text
