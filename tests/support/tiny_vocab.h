// Vocabularies of tiny models. Next: tests/support/tiny_model.cc.
#pragma once

#include "tests/support/tiny_model.h"

namespace fathom::testing {

/// Adds the tokenizer section that the options ask for.
void add_vocab(GgufWriter& writer, const TinyOptions& options);

}  // namespace fathom::testing
