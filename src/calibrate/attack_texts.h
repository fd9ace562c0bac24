// Texts that tempt premature exits by their form: what goes on and on, and then does not.
// Next in the flow: src/calibrate/attack_writing.h, texts that are written with the model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/text/tokenizer.h"
#include "src/calibrate/attack_writing.h"
#include "src/calibrate/random.h"

namespace fathom {

/// What a text of a family is made of.
struct TemptingText {
  std::string repeated;  // as often as there is room for
  std::string lead;      // once
  std::string trap;      // the end, which breaks it
};

struct TextFamily {
  std::string_view name, about;
  TemptingText (*make)(Random& random);
};

/// Near copies, garden paths, language switches, boilerplate.
std::span<const TextFamily> text_families();

/// The last `tokens` tokens of a text that has the trap at its end, of which at most half are the trap's.
///   errors   those of Tokenizer::encode()
Result<AttackText> tokens_of(const Tokenizer& tokenizer, const TemptingText& text, int32_t tokens);

/// A few tokens of other writing, again and again; the last time one of them is another.
AttackText broken_repetition(std::span<const int32_t> writing, Random& random);

}  // namespace fathom
