// What an encoder makes of texts that are empty, long, broken, and of weights that are.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/compare.h"
#include "tests/support/encoders.h"
#include "tests/support/processor_time.h"
#include "tests/support/refused.h"

namespace fathom {
namespace {

using testing::embed_one;
using testing::text_of_tokens;

Encoder tiny_encoder(const EncoderOptions& options = {}) {
  return Encoder::make(testing::tiny_model({.family = "bert", .n_layers = 2}, {.numerics = Numerics::exact}), options)
      .value();
}

TEST(EncoderTexts, NoTextsGiveNoEmbeddings) {
  Encoder encoder = tiny_encoder();
  EXPECT_TRUE(encoder.embed({}).value().empty());
}

TEST(EncoderTexts, WhatHoldsNoWordIsTheEmptyText) {
  Encoder encoder = tiny_encoder();
  const Embedding empty = embed_one(encoder, "");
  EXPECT_EQ(empty.tokens, 2);
  EXPECT_FALSE(empty.truncated);
  double square = 0;
  for (const float x : empty.values) square += double{x} * x;
  EXPECT_NEAR(square, 1, 1e-6);
  for (const std::string& text : {std::string(" \t\r\n "), std::string("\0\x01", 2), std::string("\xff\xfe\xc3")}) {
    const Embedding got = embed_one(encoder, text);
    EXPECT_EQ(got.tokens, 2);
    EXPECT_TRUE(testing::same_bits<float>(got.values, empty.values));
  }
}

TEST(EncoderTexts, BytesThatAreNoTextArePassedOver) {
  Encoder encoder = tiny_encoder();
  const std::vector<float> want = embed_one(encoder, "a hand").values;
  EXPECT_TRUE(testing::same_bits<float>(embed_one(encoder,
                                                  "a h\xff"
                                                  "and\xe2\x82")
                                            .values,
                                        want));
  EXPECT_FALSE(testing::same_bits<float>(embed_one(encoder, "a ring").values, want));
}

TEST(EncoderTexts, ATextThatSpellsTheTokensAroundItDoesNotEnd) {
  Encoder encoder = tiny_encoder();
  const Embedding got = embed_one(encoder, "a [SEP] b");
  EXPECT_EQ(got.tokens, 2 + 1 + 5 + 1) << "[, s, ##e, ##p and ] between two words";
}

TEST(EncoderTexts, ALongTextIsItsBeginning) {
  Encoder encoder = tiny_encoder({.max_tokens = 12});
  EXPECT_EQ(encoder.options().max_tokens, 12);
  const std::string text = text_of_tokens(500, 6);
  const std::string room = text.substr(0, 2 * 10 - 1);
  const Embedding whole = embed_one(encoder, room), cut = embed_one(encoder, text);
  EXPECT_EQ(whole.tokens, 12);
  EXPECT_FALSE(whole.truncated);
  EXPECT_EQ(cut.tokens, 12);
  EXPECT_TRUE(cut.truncated);
  EXPECT_TRUE(testing::same_bits<float>(cut.values, whole.values));
  const Embedding one_more = embed_one(encoder, text.substr(0, 2 * 11 - 1));
  EXPECT_TRUE(one_more.truncated);
  EXPECT_TRUE(testing::same_bits<float>(one_more.values, whole.values));
}

TEST(EncoderTexts, AWordAtTheCutIsCutInsideItsPieces) {
  Encoder encoder = tiny_encoder({.max_tokens = 5});
  const Embedding got = embed_one(encoder, "ringer handing");  // ring ##er hand ##ing
  EXPECT_EQ(got.tokens, 5);
  EXPECT_TRUE(got.truncated);
  EXPECT_TRUE(testing::same_bits<float>(got.values, embed_one(encoder, "ringer hand").values));
}

// Of a long text no more is read than fills it; of one without a space all of it is one word. Thirty-two megabytes of
// WordPiece would be seconds.
TEST(EncoderTexts, AHugeTextCostsItsBeginning) {
  Encoder encoder = tiny_encoder({.max_tokens = 64});
  std::string text;
  while (text.size() < size_t{32} << 20) text += "a hand, the ring and ";
  const double begin = testing::processor_seconds();
  const Embedding got = embed_one(encoder, text);
  EXPECT_LT(testing::processor_seconds() - begin, 0.5);
  EXPECT_TRUE(got.truncated);
  EXPECT_TRUE(testing::same_bits<float>(got.values, embed_one(encoder, text.substr(0, 4200)).values));
}

TEST(EncoderTexts, AHugeWordIsOneUnknownToken) {
  Encoder encoder = tiny_encoder({.max_tokens = 64});
  const Embedding got = embed_one(encoder, std::string(size_t{4} << 20, 'a'));
  EXPECT_EQ(got.tokens, 3);
  EXPECT_FALSE(got.truncated);
  EXPECT_TRUE(testing::same_bits<float>(got.values, embed_one(encoder, std::string(101, 'b')).values));
}

TEST(EncoderTexts, OptionsOutOfRangeAreNamed) {
  const Model model = testing::tiny_model({.family = "bert", .n_layers = 2, .context = 128});
  EXPECT_EQ(Encoder::make(model).value().options().max_tokens, 128);
  for (const int32_t n : {-1, 1, 2, 129, std::numeric_limits<int32_t>::max()}) {
    testing::expect_refused(Encoder::make(model, {.max_tokens = n}), ErrorCode::argument,
                            {"max_tokens", std::to_string(n).c_str(), "3..128"});
  }
  testing::expect_refused(Encoder::make(model, {.max_rows = -1, .threads = 0}), ErrorCode::argument, {"threads", "0"});
}

TEST(EncoderTexts, AModelWithoutWordsIsRefused) {
  const Model model = testing::tiny_model({.family = "bert", .n_layers = 2, .tokenizer = testing::TinyVocab::none});
  testing::expect_refused(Encoder::make(model), ErrorCode::argument, {"tokenizer", "[CLS]"});
}

TEST(EncoderTexts, WeightsThatAreNoNumbersGiveAnErrorAndNeverANumber) {
  for (const float damage : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const char* tensor : {"token_embd.weight", "blk.1.attn_v.weight", "blk.0.ffn_down.weight"}) {
      for (const Numerics numerics : {Numerics::exact, Numerics::bf16}) {
        testing::GgufWriter writer = testing::tiny_writer({.family = "bert", .n_layers = 2});
        testing::Bytes& data = writer.tensor(tensor).data;
        for (size_t i = 0; i < data.size(); i += sizeof(float)) std::memcpy(data.data() + i, &damage, sizeof(float));
        const testing::Bytes bytes = writer.bytes();
        const Model model = Model::from_bytes(bytes, {.numerics = numerics}).value();
        Encoder encoder = Encoder::make(model).value();
        const std::string_view texts[] = {"a hand", "the ring"};
        testing::expect_refused(encoder.embed(texts), ErrorCode::format, {"text 1", "no number"});
      }
    }
  }
}

}  // namespace
}  // namespace fathom
