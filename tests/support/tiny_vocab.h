// Vocabularies of tiny models. Next: tests/support/tiny_model.cc.
#pragma once

#include <string>

#include "tests/support/tiny_model.h"

namespace fathom::testing {

/// The printable stand-in of a byte in byte BPE's spelling of tokens. Source: Radford et al. 2019 (GPT-2),
/// `bytes_to_unicode`.
std::string byte_stand_in(int byte);

/// Adds the tokenizer section that the options ask for.
void add_vocab(GgufWriter& writer, const TinyOptions& options);

}  // namespace fathom::testing
