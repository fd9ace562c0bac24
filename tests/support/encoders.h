// Tiny encoders and texts of known lengths. Next: tests/engine/encoder_test.cc.
#pragma once

#include <string>
#include <vector>

#include "fathom/engine/embed.h"
#include "tests/support/tiny_blocks.h"
#include "tests/support/tiny_model.h"

namespace fathom::testing {

/// Words of one letter, each of which is a token.
inline std::string text_of_tokens(int32_t n, uint64_t seed) {
  Random random(seed, "text");
  std::string text;
  for (int32_t i = 0; i < n; ++i) text += std::string(i == 0 ? "" : " ") + static_cast<char>('a' + random.below(26));
  return text;
}

/// [CLS], the text's own, [SEP].
inline std::vector<int32_t> ids_of(const Model& model, std::string_view text) {
  std::vector<int32_t> ids = model.tokenizer().encode(text, {.bos = false}).value();
  ids.insert(ids.begin(), model.tokenizer().bos());
  ids.push_back(model.tokenizer().eos());
  return ids;
}

/// Throws Exception on an error.
inline std::vector<Embedding> embed(Encoder& encoder, const std::vector<std::string>& texts,
                                    const Policy& policy = {}) {
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  return encoder.embed(views, policy).value();
}
inline Embedding embed_one(Encoder& encoder, const std::string& text, const Policy& policy = {}) {
  return embed(encoder, {text}, policy)[0];
}

}  // namespace fathom::testing
