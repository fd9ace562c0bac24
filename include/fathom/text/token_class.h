// Kinds of tokens by their bytes: where a wrong digit or bracket costs more than a wrong word, depth may depend on it.
// Next in the flow: policy/limit.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "fathom/core/macros.h"

namespace fathom {

class Tokenizer;

enum class TokenClass : uint8_t {
  digits,       ///< some byte is a digit
  delimiters,   ///< no letter or digit, and some bracket, quote, comma, colon, semicolon or operator of program text
  punctuation,  ///< other signs of ASCII
  word_begins,  ///< letters behind a blank
  word_parts,   ///< letters
  spaces,       ///< white space
  other,        ///< no digit, and some byte outside ASCII; control tokens
};
inline constexpr int kTokenClasses = 7;
inline constexpr std::string_view kTokenClassNames[kTokenClasses] = {
    "digits", "delimiters", "punctuation", "word_begins", "word_parts", "spaces", "other"};

/// The class of a token's bytes.
FATHOM_API TokenClass class_of(std::string_view piece) noexcept;

/// Of every token.
///   returns  [vocab]
///   cost     the vocabulary's bytes, once
FATHOM_API std::vector<TokenClass> classes_of(const Tokenizer& tokenizer);

}  // namespace fathom
