// Policies on encoders: what is saved and what is refused. Next: tests/engine/encoder_texts_test.cc.
#include <gtest/gtest.h>

#include "fathom/engine/generate.h"
#include "fathom/engine/perplexity.h"
#include "tests/support/compare.h"
#include "tests/support/encoders.h"
#include "tests/support/plain_forward.h"
#include "tests/support/refused.h"

namespace fathom {
namespace {

using testing::embed;
using testing::expect_refused;
using testing::text_of_tokens;

constexpr int32_t kLayers = 5;

Model tiny_encoder() {
  return testing::tiny_model({.family = "bert", .n_layers = kLayers}, {.numerics = Numerics::exact});
}

const std::vector<std::string>& texts() {
  static const std::vector<std::string> all{text_of_tokens(3, 1), "", text_of_tokens(80, 2), text_of_tokens(11, 3)};
  return all;
}

// Every text's layers cost the same, so a share of work is a share of layers, and no cell is written that nobody reads.
TEST(EncoderPolicy, AnExitIsTheStateOfItsLayerAndCostsNoLayerAboveIt) {
  const Model model = tiny_encoder();
  Encoder encoder = Encoder::make(model).value();
  for (int32_t layer = 1; layer <= kLayers; ++layer) {
    const std::vector<Embedding> got = embed(encoder, texts(), exit_at{.layer = layer});
    for (size_t i = 0; i < texts().size(); ++i) {
      EXPECT_EQ(got[i].depth, static_cast<float>(layer));
      EXPECT_DOUBLE_EQ(got[i].work, static_cast<double>(layer) / kLayers);
      EXPECT_EQ(got[i].tokens_kept, got[i].tokens);
      const std::vector<int32_t> ids = testing::ids_of(model, texts()[i]);
      const std::vector<int32_t> depths(ids.size(), layer);
      const std::vector<double> plain = testing::plain_embedding(model, ids, {.depths = depths});
      EXPECT_TRUE(testing::all_near<double>(got[i].values, plain, [](size_t) { return 4e-6; })) << layer;
    }
  }
}

TEST(EncoderPolicy, AnExitAtTheLastLayerIsFullDepthBitForBit) {
  Encoder encoder = Encoder::make(tiny_encoder()).value();
  const std::vector<Embedding> want = embed(encoder, texts()), got = embed(encoder, texts(), exit_at{.layer = kLayers});
  for (size_t i = 0; i < texts().size(); ++i) {
    EXPECT_TRUE(testing::same_bits<float>(got[i].values, want[i].values));
    EXPECT_DOUBLE_EQ(want[i].work, 1.0);
  }
}

TEST(EncoderPolicy, LayersThatAreSkippedCostNothing) {
  Encoder encoder = Encoder::make(tiny_encoder()).value();
  const std::vector<Embedding> full = embed(encoder, texts());
  const std::vector<Embedding> got = embed(encoder, texts(), Policy::parse("skip_layers(layers=[2,4])").value());
  for (size_t i = 0; i < texts().size(); ++i) {
    EXPECT_EQ(got[i].depth, static_cast<float>(kLayers - 2));
    EXPECT_DOUBLE_EQ(got[i].work, static_cast<double>(kLayers - 2) / kLayers);
    EXPECT_FALSE(testing::same_bits<float>(got[i].values, full[i].values));
  }
}

TEST(EncoderPolicy, RowsThatLeaveOneByOneLeaveTheirCellsToThoseThatStay) {
  const Model model = tiny_encoder();
  Encoder encoder = Encoder::make(model).value();
  const Policy policy = Policy::parse("exit_when(signal=similarity, at_least=0.5)").value();
  const std::vector<Embedding> got = embed(encoder, texts(), policy);
  EXPECT_GT(got[2].depth, 1.0f);
  EXPECT_LT(got[2].depth, static_cast<float>(kLayers));
  EXPECT_GT(got[2].work, static_cast<double>(got[2].depth) / kLayers) << "rows that left still write their cells";
  Encoder alone = Encoder::make(model, {.max_rows = 1, .threads = 2}).value();
  for (size_t i = 0; i < texts().size(); ++i) {
    EXPECT_TRUE(testing::same_bits<float>(testing::embed_one(alone, texts()[i], policy).values, got[i].values));
  }
}

TEST(EncoderPolicy, WhatNeedsALanguageHeadIsRefused) {
  const struct {
    const char* policy;
    std::vector<const char*> words;
  } cases[] = {
      {"exit_at(layer=2) | kv(settle_later)", {"encoder", "leave kv(...) out"}},
      {"exit_at(layer=2) | kv(verify)", {"encoder", "leave kv(...) out"}},
      {"screen_head", {"encoder", "head"}},
      {"exit_when(confidence_at_least=0.9)", {"encoder", "without a head"}},
      {"exit_when(margin_at_least=0.1)", {"encoder", "without a head"}},
      {"exit_when(entropy_below=1)", {"encoder", "without a head"}},
      {"patience(agreeing=2)", {"encoder", "without a head"}},
      {"skip_when(similarity_above=0.9) | budget(of_full=0.6)", {"encoder", "leave budget(of_full=...)"}},
  };
  Encoder encoder = Encoder::make(tiny_encoder()).value();
  const std::string text = text_of_tokens(4, 9);
  const std::string_view views[] = {text};
  const std::vector<float> want = encoder.embed(views).value()[0].values;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.policy);
    expect_refused(encoder.embed(views, Policy::parse(c.policy).value()), ErrorCode::unsupported, c.words);
    EXPECT_TRUE(testing::same_bits<float>(encoder.embed(views).value()[0].values, want)) << "after the refusal";
  }
  expect_refused(encoder.embed(views, exit_at{.layer = kLayers + 1}), ErrorCode::argument, {"exit_at", "1..5"});
}

TEST(EncoderPolicy, WhatPredictsTokensRefusesAnEncoder) {
  const Model model = tiny_encoder();
  Session session = Session::make(model, {.max_tokens = 64}).value();
  const std::vector<int32_t> ids = testing::ids_of(model, text_of_tokens(20, 4));
  expect_refused(generate(session, ids, {.max_new_tokens = 4}), ErrorCode::argument, {"encoder"});
  expect_refused(perplexity(session, ids, {.window = 16}), ErrorCode::argument, {"encoder"});
  const Row row{.token = 5, .logits = true};
  expect_refused(session.step({&row, 1}), ErrorCode::argument, {"encoder", "predicts no token"});
}

TEST(EncoderPolicy, AModelThatPredictsTokensIsNoEncoder) {
  expect_refused(Encoder::make(testing::tiny_model()), ErrorCode::argument, {"qwen2", "encoder"});
}

TEST(EncoderPolicy, ATextComesWholeInOneStep) {
  const Model model = tiny_encoder();
  Session session = Session::make(model, {.max_tokens = 64}).value();
  const Row first[] = {{.token = 2, .position = 0}, {.token = 9, .position = 1}}, second{.token = 3, .position = 2};
  ASSERT_TRUE(session.step(first));
  expect_refused(session.step({&second, 1}), ErrorCode::argument, {"sequence 0", "one step", "truncate"});
  ASSERT_TRUE(session.truncate(0, 1));
  const Row middle{.token = 3, .position = 1};
  expect_refused(session.step({&middle, 1}), ErrorCode::argument, {"sequence 0", "one step", "truncate"});
  ASSERT_TRUE(session.truncate(0, 0));
  EXPECT_TRUE(session.step(first));
}

}  // namespace
}  // namespace fathom
