// generate(): where texts end, what is streamed, and which numbers come back.
#include "fathom/engine/generate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

Model model() { return testing::tiny_model({.family = "qwen2", .n_layers = 4}); }
Session session(const Model& m, int32_t max_tokens = 128, int32_t max_rows = 8) {
  return Session::make(m, {.max_tokens = max_tokens, .max_rows = max_rows}).value();
}

// Greedy, but never the end of the text: tests of lengths need texts that go on.
SampleOptions endless(const Model& m) {
  SampleOptions sample;
  for (int32_t id = 0; id < m.config().vocab; ++id) {
    if (m.tokenizer().ends_text(id)) sample.bias.push_back({id, -INFINITY});
  }
  return sample;
}

struct Streamed {
  std::string text;
  std::vector<int32_t> ids;
  int32_t stop_after = 1 << 30;
  static bool on_token(void* context, const GeneratedToken& token) {
    auto& self = *static_cast<Streamed*>(context);
    self.text += token.text;
    if (token.id >= 0) self.ids.push_back(token.id);
    return std::ssize(self.ids) < self.stop_after;
  }
};

TEST(Generate, GivesTheSameTokensForASeedWhateverTheChunking) {
  const Model m = model();
  const SampleOptions sample{.temperature = 0.9f, .seed = 42};
  Session a = session(m, 128, 8), b = session(m, 128, 3);
  const Generation x = generate(a, "Hello there, world", {.max_new_tokens = 40, .sample = sample}).value();
  const Generation y = generate(b, "Hello there, world", {.max_new_tokens = 40, .sample = sample}).value();
  EXPECT_EQ(x.tokens, y.tokens);
  EXPECT_EQ(x.text, y.text);
  const SampleOptions reseeded{.temperature = 0.9f, .seed = 43};
  const Generation other = generate(a, "Hello there, world", {.max_new_tokens = 40, .sample = reseeded}).value();
  EXPECT_NE(x.tokens, other.tokens);
  const Generation sequence =
      generate(a, "Hello there, world", {.max_new_tokens = 40, .sample = sample, .sequence = 1}).value();
  EXPECT_NE(x.tokens, sequence.tokens);
}

TEST(Generate, StreamsExactlyTheTextItReturns) {
  const Model m = model();
  Session s = session(m);
  const SampleOptions sample{.temperature = 1, .seed = 5};
  const std::string all = generate(s, "Hello", {.max_new_tokens = 60, .sample = sample}).value().text;
  ASSERT_GT(all.size(), 20u);
  const std::vector<std::vector<std::string>> cases = {
      {}, {all.substr(10, 3)}, {all.substr(15, 5), "never seen"}, {all.substr(0, 1)}};
  for (const auto& stop : cases) {
    Streamed streamed;
    const Generation out = generate(s, "Hello",
                                    {.max_new_tokens = 60,
                                     .sample = sample,
                                     .stop = stop,
                                     .on_token = Streamed::on_token,
                                     .context = &streamed})
                               .value();
    EXPECT_EQ(streamed.text, out.text);
    EXPECT_EQ(streamed.ids, out.tokens);
    EXPECT_EQ(out.text, stop.empty() ? all : all.substr(0, all.find(stop[0])));
    EXPECT_EQ(out.stop_reason, stop.empty() ? StopReason::length : StopReason::stop_string);
  }
}

TEST(Generate, EndsAtTheContextAndWhenTheCallerSaysSo) {
  const Model m = model();
  Session s = session(m, 20);
  const std::vector<int32_t> prompt(5, 40);
  const Generation full = generate(s, prompt, {.max_new_tokens = 100, .sample = endless(m)}).value();
  // 20 positions hold the prompt and 15 new tokens; the last prediction needs no position.
  ASSERT_EQ(full.stop_reason, StopReason::context);
  EXPECT_EQ(full.tokens.size(), 16u);
  Streamed streamed{.text = {}, .ids = {}, .stop_after = 3};
  const Generation cut =
      generate(s, prompt,
               {.max_new_tokens = 15, .sample = endless(m), .on_token = Streamed::on_token, .context = &streamed})
          .value();
  EXPECT_EQ(cut.stop_reason, StopReason::cancelled);
  EXPECT_EQ(cut.tokens.size(), 3u);
}

TEST(Generate, ReportsDepthAndWorkOfGeneratedRows) {
  const Model m = model();
  Session s = session(m);
  const std::vector<int32_t> prompt(5, 40);
  const Generation full = generate(s, prompt, {.max_new_tokens = 10, .sample = endless(m)}).value();
  EXPECT_EQ(full.mean_depth, 4);
  EXPECT_DOUBLE_EQ(full.work, 1);
  EXPECT_EQ(full.decode_steps, std::ssize(full.tokens) - 1);
  EXPECT_EQ(full.kv_bytes, s.cache().bytes());
  const Generation exit =
      generate(s, prompt, {.max_new_tokens = 10, .sample = endless(m), .policy = exit_at{.layer = 2}}).value();
  EXPECT_EQ(exit.mean_depth, 2);
  EXPECT_LT(exit.work, 0.95);
  EXPECT_EQ(exit.depths[0], 4) << "the first token comes from the prompt's last row";
  EXPECT_EQ(exit.depths[1], 2);
  EXPECT_DOUBLE_EQ(exit.prompt_work, 1);
}

TEST(Generate, CountsTheWorkOfPromptRowsApartFromThatOfGeneratedRows) {
  const Model m = model();
  const std::vector<int32_t> prompt{40, 41, 42, 43, 44};
  for (const char* text : {"exit_at(layer=2, on=prompt)", "exit_at(layer=2, on=all)", "exit_at(layer=2)"}) {
    SCOPED_TRACE(text);
    const Policy policy = Policy::parse(text).value();
    Session s = session(m), by_hand = session(m);
    const Generation out = generate(s, prompt, {.max_new_tokens = 6, .sample = endless(m), .policy = policy}).value();
    ASSERT_EQ(out.tokens.size(), 6u);
    double macs[2] = {}, full[2] = {};  // by RowKind
    for (int32_t p = 0; p < 10; ++p) {  // the last token is chosen, not run
      const bool given = p < 5;
      const Row row{.token = given ? prompt[size_t(p)] : out.tokens[size_t(p - 5)],
                    .position = p,
                    .kind = given ? RowKind::prompt : RowKind::generated,
                    .logits = p >= 4};
      const RowResult result = by_hand.step({&row, 1}, policy.ref()).value().rows[0];
      macs[!given] += result.macs, full[!given] += result.full_macs;
    }
    EXPECT_DOUBLE_EQ(out.prompt_work, macs[0] / full[0]);
    EXPECT_DOUBLE_EQ(out.work, macs[1] / full[1]);
    EXPECT_EQ(out.prompt_work < 1, policy.text().find("on=") != std::string::npos);
    EXPECT_EQ(out.work < 1, policy.text().find("on=prompt") == std::string::npos);
    EXPECT_GT(std::abs(out.work - out.prompt_work), 0.01) << "numbers that agree are not told apart";
  }
}

TEST(Generate, ContinuesASequence) {
  const Model m = model();
  Session s = session(m);
  const std::vector<int32_t> first{40, 41, 42}, second{50, 51};
  const Generation a = generate(s, first, {.max_new_tokens = 3, .sample = endless(m)}).value();
  const int32_t held = s.length();  // the last token is chosen, not yet run
  const Generation b = generate_more(s, second, {.max_new_tokens = 3, .sample = endless(m)}).value();
  std::vector<int32_t> whole = first;
  whole.insert(whole.end(), a.tokens.begin(), a.tokens.end() - 1);
  whole.insert(whole.end(), second.begin(), second.end());
  ASSERT_EQ(held, 5);
  EXPECT_EQ(generate(s, whole, {.max_new_tokens = 3, .sample = endless(m)}).value().tokens, b.tokens);
}

TEST(Generate, RefusesBadRequestsWithOneLineThatNamesThem) {
  const Model m = model();
  Session s = session(m, 16);
  const std::vector<int32_t> prompt(5, 40), long_prompt(17, 40);
  const auto error = [&](std::span<const int32_t> ids, const GenerateOptions& options) {
    auto result = generate(s, ids, options);
    return result.has_value() ? std::string("no error") : result.error().message;
  };
  const auto with = [](auto change) {
    GenerateOptions options;
    change(options);
    return options;
  };
  const auto refused = [&](auto change, const char* names) {
    EXPECT_NE(error(prompt, with(change)).find(names), std::string::npos) << names;
  };
  refused([](auto& o) { o.max_new_tokens = 0; }, "max_new_tokens 0");
  refused([](auto& o) { o.sample.temperature = NAN; }, "temperature");
  refused([](auto& o) { o.stop = {""}; }, "stop");
  refused([](auto& o) { o.policy = exit_at{.layer = 40}; }, "40");
  EXPECT_NE(error({}, GenerateOptions()).find("prompt is empty"), std::string::npos);
  EXPECT_NE(error(long_prompt, GenerateOptions()).find("17 tokens"), std::string::npos);
}

}  // namespace
}  // namespace fathom
