// How a text ends by the model's own word: the token that says so is no part of it.
#include <gtest/gtest.h>

#include <cmath>

#include "fathom/engine/generate.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

constexpr int32_t kTokens = 20;

struct Heard {
  std::string text;
  std::vector<int32_t> ids;
  static bool on_token(void* context, const GeneratedToken& token) {
    auto& self = *static_cast<Heard*>(context);
    self.text += token.text;
    if (token.id >= 0) self.ids.push_back(token.id);
    return true;
  }
};

// Greedy, every end-of-text token raised by `bias`.
Generation run(const Model& model, float bias, Heard* heard = nullptr) {
  Session session = Session::make(model, {.max_tokens = 128, .max_rows = 8}).value();
  GenerateOptions options;
  options.max_new_tokens = kTokens;
  options.special = true;
  for (int32_t id = 0; id < model.config().vocab; ++id) {
    if (model.tokenizer().ends_text(id)) options.sample.bias.push_back({id, bias});
  }
  options.context = heard;
  if (heard != nullptr) options.on_token = Heard::on_token;
  return generate(session, "hello there", options).value();
}

TEST(Ending, TheEndOfTextTokenIsInNeitherTokensNorTextNorStream) {
  const Model model = testing::tiny_model({.family = "qwen2", .n_layers = 4});
  const Generation endless = run(model, -INFINITY);
  ASSERT_EQ(std::ssize(endless.tokens), kTokens);
  int texts_that_end_within = 0;
  // The stronger the bias, the earlier the end comes; whatever is before it is the endless text.
  for (float bias = 0; bias <= 24; bias += 0.25f) {
    Heard heard;
    const Generation out = run(model, bias, &heard);
    if (out.stop_reason != StopReason::end_of_text) continue;
    ASSERT_LT(std::ssize(out.tokens), kTokens);
    EXPECT_EQ(out.tokens, std::vector(endless.tokens.begin(), endless.tokens.begin() + std::ssize(out.tokens)));
    EXPECT_EQ(out.depths.size(), out.tokens.size());
    EXPECT_EQ(heard.ids, out.tokens);
    EXPECT_EQ(heard.text, out.text);
    EXPECT_EQ(endless.text.substr(0, out.text.size()), out.text);
    texts_that_end_within += !out.tokens.empty();
  }
  EXPECT_GT(texts_that_end_within, 0) << "some bias should end the text after its first token";
}

TEST(Ending, ACancelledPromptCountsTheTokensThatWereRun) {
  const Model model = testing::tiny_model({.family = "qwen2", .n_layers = 4});
  Session session = Session::make(model, {.max_tokens = 128, .max_rows = 8}).value();
  const std::vector<int32_t> prompt(30, 4);
  GenerateOptions options;
  options.max_new_tokens = 4;
  options.on_prefill = [](void*, int32_t done, int32_t) { return done < 16; };
  const Generation out = generate(session, prompt, options).value();
  EXPECT_EQ(out.stop_reason, StopReason::cancelled);
  EXPECT_EQ(out.tokens.size(), 0u);
  EXPECT_EQ(out.prompt_tokens, 16);
  EXPECT_EQ(session.length(), 16);
  EXPECT_EQ(out.decode_steps, 0);
}

}  // namespace
}  // namespace fathom
