// Texts side by side are the texts alone, at any depth and from any drafts.
#include "fathom/engine/batch.h"

#include <gtest/gtest.h>

#include "tests/engine/lossless_support.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Dice;
using testing::random_ids;

std::vector<BatchItem> items_of(const Model& model, int n) {
  std::vector<BatchItem> items;
  for (int i = 0; i < n; ++i) {
    const auto length = static_cast<int32_t>(1 + i * 7 % 40);
    items.push_back({random_ids(length, model.config().vocab, uint64_t(i) + 1), uint64_t(i % 3), i});
  }
  return items;
}

class BatchOf : public ::testing::TestWithParam<const char*> {};

TEST_P(BatchOf, TextsSideBySideAreTheTextsAlone) {
  for (const char* family : {"gemma3", "qwen2"}) {
    const Model model = testing::tiny_model({.family = family, .n_layers = 5, .type = DType::q8_0},
                                            {.screen_head = Policy::parse(GetParam()).value().settings().screen_head});
    const auto items = items_of(model, 11);
    GenerateOptions each{
        .max_new_tokens = 40, .sample = {.temperature = 0.9f}, .policy = Policy::parse(GetParam()).value()};
    Session alone = Session::make(model, {.max_tokens = 64, .max_rows = 64}).value();
    std::vector<Generation> expected;
    for (const BatchItem& item : items) {
      GenerateOptions options = each;
      options.sample.seed = item.seed;
      options.sequence = item.sequence;
      if (each.policy.settings().kv == KvMode::verify) options.policy = {};
      expected.push_back(generate(alone, item.prompt, options).value());
    }
    for (const int32_t at_once : {1, 3, 8}) {
      const bool settles = each.policy.settings().kv == KvMode::settle_later;
      for (const int32_t max_rows : {settles ? 72 : 16, 96}) {
        Session session =
            Session::make(model,
                          {.max_tokens = 64, .max_sequences = at_once, .max_rows = max_rows, .max_logit_rows = 16})
                .value();
        Dice dice(static_cast<uint64_t>(at_once));
        BatchOptions options{.each = each};
        if (each.policy.settings().kv == KvMode::verify) options.each.draft_chooser = &dice;
        const auto out = generate_batch(session, items, options).value();
        for (size_t i = 0; i < items.size(); ++i) {
          EXPECT_EQ(out[i].tokens, expected[i].tokens) << GetParam() << ", item " << i << " of " << at_once;
          EXPECT_EQ(out[i].text, expected[i].text);
          EXPECT_EQ(out[i].stop_reason, expected[i].stop_reason);
          EXPECT_EQ(out[i].depths, expected[i].depths) << "one deep row deepens another";
          EXPECT_EQ(out[i].prompt_tokens, expected[i].prompt_tokens);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, BatchOf,
                         ::testing::Values("full_depth", "exit_at(2)", "exit_when(0.02, from_layer=2)",
                                           "exit_when(signal=diversity, at_least=0.3, from_layer=2)",
                                           "exit_when(signal=attention_received, below=0.1)",
                                           "skip_when(0.9) | budget(0.7)", "exit_at(3) | kv(settle_later)",
                                           "draft_ngram | kv(verify)", "exit_at(2) | draft_ngram | kv(verify)",
                                           "defer_head(32) | kv(verify)", "screen_head",
                                           "screen_head | draft_ngram | defer_head(40) | kv(verify)"));

// Rows that owe join the step of a row behind them, and take their part of its rows.
TEST(Batch, ALongPromptLeavesRoomForRowsThatSettle) {
  const Model model = testing::tiny_model({.context = 1024});
  const Policy later = exit_at{.layer = 2} | kv{.mode = KvMode::settle_later, .max_rows = 8};
  std::vector<BatchItem> items;
  for (int32_t i = 0; i < 4; ++i) items.push_back({random_ids(10 + 200 * i, model.config().vocab, uint64_t(i) + 1)});
  GenerateOptions each{.max_new_tokens = 30, .policy = later};
  Session session = Session::make(model, {.max_tokens = 1024, .max_sequences = 3, .max_rows = 64}).value();
  const auto out = generate_batch(session, items, {.each = each});
  ASSERT_TRUE(out.has_value()) << out.error().message;
  Session alone = Session::make(model, {.max_tokens = 1024, .max_rows = 64}).value();
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ((*out)[i].tokens, generate(alone, items[i].prompt, each).value().tokens) << i;
  }
  ASSERT_GT(alone.owed(), 0);
  const auto more = generate_more(alone, random_ids(200, model.config().vocab, 9), each);
  EXPECT_TRUE(more.has_value()) << more.error().message;
}

TEST(Batch, RefusesBadItemsBeforeAnyTextIsBegun) {
  const Model model = testing::tiny_model();
  Session session = Session::make(model, {.max_tokens = 16, .max_sequences = 2}).value();
  std::vector<BatchItem> items = items_of(model, 2);
  items[1].prompt.assign(17, 3);
  auto refused = generate_batch(session, items);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("item 1: a prompt of 17 tokens"), std::string::npos)
      << refused.error().message;
  items[1].prompt.clear();
  refused = generate_batch(session, items);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("at least one"), std::string::npos);
  EXPECT_TRUE(generate_batch(session, {}).value().empty());
  Session small = Session::make(model, {.max_tokens = 16, .max_sequences = 2, .max_rows = 17}).value();
  const Policy later = exit_at{.layer = 2} | kv{.mode = KvMode::settle_later};
  refused = generate_batch(small, items_of(model, 2), {.each = {.policy = later}});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("may take 18 rows"), std::string::npos) << refused.error().message;
}

TEST(Batch, EndsAllTextsBetweenPassesWhenAsked) {
  const Model model = testing::tiny_model();
  Session session = Session::make(model, {.max_tokens = 64, .max_sequences = 2}).value();
  int left = 4;
  BatchOptions options{.each = {.max_new_tokens = 20}};
  options.context = &left;
  options.on_pass = [](void* context) { return --*static_cast<int*>(context) > 0; };
  const auto out = generate_batch(session, items_of(model, 5), options).value();
  EXPECT_EQ(left, 0);
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(out[i].stop_reason, StopReason::cancelled) << i;
    EXPECT_EQ(out[i].tokens.size(), i < 2 ? 4u : 0u) << i;
  }
}

TEST(Batch, HandsOverTextsAsTheyEndAndStopsWhenAsked) {
  const Model model = testing::tiny_model();
  Session session = Session::make(model, {.max_tokens = 64, .max_sequences = 2}).value();
  const auto items = items_of(model, 7);
  int left = 3;
  BatchOptions options{.each = {.max_new_tokens = 5}};
  options.context = &left;
  options.on_done = [](void* context, size_t, const Generation&) { return --*static_cast<int*>(context) > 0; };
  const auto out = generate_batch(session, items, options).value();
  int cancelled = 0;
  for (const Generation& one : out) cancelled += one.stop_reason == StopReason::cancelled;
  EXPECT_EQ(left, 0);
  EXPECT_GE(cancelled, 3);
}

}  // namespace
}  // namespace fathom
