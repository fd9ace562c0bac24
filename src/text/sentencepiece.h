// SentencePieceBpe: merges by score over characters, as the models of Gemma and Llama 2 were made with.
// Next in the flow: text/byte_bpe.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/text/tokenizer.h"
#include "src/text/merge.h"
#include "src/text/special_matcher.h"
#include "src/text/token_index.h"

namespace fathom::text {

/// The byte that a byte token's name "<0xNN>" says, -1 for another text.
int named_byte(std::string_view token);

/// Which pairs of neighbouring characters occur inside some token. A filter: it may say yes too often, never no.
class PairFilter {
 public:
  void add(uint32_t left, uint32_t right) { words_[place(left, right) / 64] |= bit(left, right); }
  bool may_hold(uint32_t left, uint32_t right) const {
    return (words_[place(left, right) / 64] & bit(left, right)) != 0;
  }

 private:
  static constexpr int kBits = 22;
  static size_t place(uint32_t left, uint32_t right) {
    return ((uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u) >> (64 - kBits);
  }
  static uint64_t bit(uint32_t left, uint32_t right) { return uint64_t{1} << place(left, right) % 64; }
  std::vector<uint64_t> words_ = std::vector<uint64_t>((size_t{1} << kBits) / 64);
};

class SentencePieceBpe {
 public:
  /// Builds the matchers. `tables` and `index`, which holds all its tokens, must outlive the encoder; kinds are filled.
  ///   errors   format: scores missing or not numbers, a byte token that names no byte
  static Result<SentencePieceBpe> make(const TokenizerTables& tables, const TokenIndex& index);

  /// Appends the ids of a valid text that starts the input or follows a control token.
  ///   errors   format: a character for which there is no token, no byte tokens and no unknown token
  ///   cost     linear over stretches that borders inside no token divide, n log n inside a stretch
  Result<void> encode(std::string_view text, std::vector<int32_t>& ids) const;

 private:
  struct Run;  // what one call owns

  SentencePieceBpe(const TokenizerTables& tables, const TokenIndex& index, size_t special_bytes);
  int32_t mergeable(std::string_view token) const noexcept;
  uint32_t priority(int32_t id) const noexcept;
  Result<void> finish_stretch(Run& run) const;
  Result<void> append(Run& run, std::string_view piece, int32_t id) const;
  Result<void> append_resegmented(Run& run, std::string_view piece, int32_t id) const;

  const TokenizerTables* tables_;
  const TokenIndex* index_;
  SpecialMatcher user_defined_;     // with visible spaces
  PairFilter inside_;               // character pairs inside tokens that can be merged
  std::array<int32_t, 256> bytes_;  // tokens of bytes, -1: none
  int32_t unknown_ = -1;
  bool has_unused_ = false;  // unused tokens are taken apart again, the same way everywhere in a text
};

}  // namespace fathom::text
