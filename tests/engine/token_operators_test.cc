// Texts that get shorter on their way through an encoder: which tokens go, and what is left of them, held against a
// forward pass in double precision. Next: tests/engine/encoder_texts_test.cc.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "fathom/engine/session.h"
#include "tests/support/compare.h"
#include "tests/support/encoders.h"
#include "tests/support/plain_forward.h"
#include "tests/support/refused.h"

namespace fathom {
namespace {

using testing::embed;
using testing::embed_one;
using testing::expect_refused;
using testing::same_bits;
using testing::text_of_tokens;

constexpr int32_t kLayers = 4;

Encoder tiny_encoder(const EncoderOptions& options = {}) {
  static const Model model =
      testing::tiny_model({.family = "bert", .n_layers = kLayers}, {.numerics = Numerics::exact});
  return Encoder::make(model, options).value();
}
Policy policy(std::string_view text) { return Policy::parse(text).value(); }

std::vector<double> plain(const Encoder& encoder, const std::string& text, const testing::PlainTokens& tokens) {
  return testing::plain_embedding(encoder.model(), testing::ids_of(encoder.model(), text), {.tokens = &tokens});
}
::testing::AssertionResult near_plain(const Embedding& got, const std::vector<double>& want) {
  return testing::all_near<double>(got.values, want, [](size_t) { return 4e-6; });
}

TEST(TokenOperators, WhatReceivesLeastAttentionIsDropped) {
  Encoder encoder = tiny_encoder();
  for (const int32_t tokens : {6, 30, 90}) {
    const std::string text = text_of_tokens(tokens, uint64_t(tokens));
    for (int32_t layer = 1; layer < kLayers; ++layer) {
      const Embedding got = embed_one(encoder, text, prune_tokens{.keep = 0.5f, .from_layer = layer});
      EXPECT_EQ(got.tokens_kept, (tokens + 2 + 1) / 2);
      EXPECT_TRUE(near_plain(got, plain(encoder, text, {.layer = layer, .drop_to = got.tokens_kept}))) << layer;
      EXPECT_LT(got.work, 1);
    }
  }
}

TEST(TokenOperators, TheLikestPairsJoinAndCountForAsManyTokens) {
  Encoder encoder = tiny_encoder();
  for (const int32_t tokens : {6, 30, 90}) {
    const std::string text = text_of_tokens(tokens, uint64_t(tokens) + 1);
    for (int32_t layer = 1; layer < kLayers; ++layer) {
      const Embedding got = embed_one(encoder, text, merge_tokens{.keep = 0.7f, .from_layer = layer});
      EXPECT_EQ(got.tokens_kept, int32_t(std::ceil(0.7f * float(tokens + 2) - 1e-4f)));
      EXPECT_TRUE(near_plain(got, plain(encoder, text, {.layer = layer, .merge_to = got.tokens_kept}))) << layer;
    }
  }
}

TEST(TokenOperators, RepeatedTokensBecomeOneRowThatCountsForAll) {
  Encoder encoder = tiny_encoder();
  const Embedding got = embed_one(encoder, "a a a b c c d d d d e", fuse_tokens{});
  EXPECT_EQ(got.tokens, 13);
  EXPECT_EQ(got.tokens_kept, 7);
  EXPECT_TRUE(near_plain(got, plain(encoder, "a a a b c c d d d d e", {.layer = 0, .fuse = true})));
  const Embedding none = embed_one(encoder, "a b a b", fuse_tokens{}), full = embed_one(encoder, "a b a b");
  EXPECT_EQ(none.tokens_kept, 6);
  EXPECT_TRUE(same_bits<float>(none.values, full.values));
}

TEST(TokenOperators, TokensOfAClassThatIsNoiseAreAlike) {
  Encoder encoder = tiny_encoder();
  EXPECT_EQ(embed_one(encoder, "a b c d", policy("fuse_tokens(noise=word_begins)")).tokens_kept, 3);
  EXPECT_EQ(embed_one(encoder, "a b c d", policy("fuse_tokens(noise=digits)")).tokens_kept, 6);
  EXPECT_EQ(embed_one(encoder, "a b c d", policy("fuse_tokens(alike_at_least=-1)")).tokens_kept, 3);
}

TEST(TokenOperators, AShareIsKeptInEveryOrderAndOnEverySchedule) {
  Encoder encoder = tiny_encoder();
  const std::string text = text_of_tokens(58, 3);  // 60 with those around it
  for (const char* by : {"attention", "norm", "entropy", "recent", "random"}) {
    for (const char* schedule : {"once", "linear", "cosine"}) {
      const std::string written = fmt::format("prune_tokens(keep=0.25, by={}, schedule={})", by, schedule);
      const Embedding got = embed_one(encoder, text, policy(written));
      EXPECT_EQ(got.tokens_kept, 15) << written;
    }
  }
  const Embedding once = embed_one(encoder, text, policy("prune_tokens(keep=0.25)"));
  const Embedding slowly = embed_one(encoder, text, policy("prune_tokens(keep=0.25, schedule=linear)"));
  EXPECT_LT(once.work, slowly.work);
  const Embedding listed = embed_one(encoder, text, policy("prune_tokens(keep=[0.75,0.5,0.25])"));
  EXPECT_TRUE(same_bits<float>(listed.values, slowly.values)) << "which is linear over three boundaries";
  EXPECT_EQ(embed_one(encoder, text, policy("prune_tokens(keep=0.25, blocks=16)")).tokens_kept, 16);
  EXPECT_EQ(embed_one(encoder, text, policy("merge_tokens(keep=0.25)")).tokens_kept, 15) << "at three boundaries";
}

TEST(TokenOperators, ProtectedTokensStay) {
  Encoder encoder = tiny_encoder();
  const std::string text = text_of_tokens(30, 5);
  EXPECT_EQ(embed_one(encoder, text, policy("prune_tokens(keep=0.001)")).tokens_kept, 2);
  EXPECT_EQ(embed_one(encoder, text, policy("prune_tokens(keep=0.001, protect_first=9)")).tokens_kept, 10);
  EXPECT_EQ(embed_one(encoder, text, policy("prune_tokens(keep=0.001, protect_first=1000)")).tokens_kept, 32);
  EXPECT_EQ(embed_one(encoder, "", policy("prune_tokens(keep=0.001) | budget(tokens=1)")).tokens_kept, 2);
}

TEST(TokenOperators, ABudgetOfTokensHoldsForEveryText) {
  Encoder encoder = tiny_encoder();
  const std::vector<std::string> texts{text_of_tokens(3, 1), text_of_tokens(40, 2), text_of_tokens(90, 3)};
  const std::vector<Embedding> got = embed(encoder, texts, policy("budget(tokens=20)"));
  EXPECT_EQ(got[0].tokens_kept, 5);
  EXPECT_EQ(got[1].tokens_kept, 20);
  EXPECT_EQ(got[2].tokens_kept, 20);
  EXPECT_TRUE(near_plain(got[2], plain(encoder, texts[2], {.layer = 1, .drop_to = 20})));
}

TEST(TokenOperators, ALossThatIsNotAllowedRestoresTokens) {
  Encoder encoder = tiny_encoder();
  const std::string text = text_of_tokens(60, 8);
  const Embedding full = embed_one(encoder, text);
  const Embedding none = embed_one(encoder, text, policy("prune_tokens(keep=0.1) | max_loss(attention=0)"));
  EXPECT_TRUE(same_bits<float>(none.values, full.values));
  int32_t before = 62;
  for (const char* most : {"0.05", "0.2", "0.5", "1"}) {
    const Embedding got =
        embed_one(encoder, text, policy(fmt::format("prune_tokens(keep=0.1) | max_loss(attention={})", most)));
    EXPECT_LT(got.tokens_kept, before) << most;
    before = got.tokens_kept;
  }
  EXPECT_EQ(before, 7);
}

// What no layer said is not known, and what is not known saves nothing.
TEST(TokenOperators, WithoutAttentionNothingIsRankedByIt) {
  Encoder encoder = tiny_encoder();
  const std::string text = text_of_tokens(40, 4);
  for (const char* quiet : {"skip_layers(layers=[1])", "skip_sublayers(attention=[1])", "silence_heads(heads=[1:1])"}) {
    const auto with = [&](const char* rest) {
      return embed_one(encoder, text, policy(fmt::format("{} | {}", quiet, rest)));
    };
    const Embedding alone = embed_one(encoder, text, policy(quiet));
    const Embedding got = with("prune_tokens(keep=0.3) | max_loss(attention=0)");
    EXPECT_TRUE(same_bits<float>(got.values, alone.values)) << quiet;
    EXPECT_EQ(with("prune_tokens(keep=[0.3,1])").tokens_kept, 42) << quiet;
    EXPECT_EQ(with("prune_tokens(keep=[0.3,1], by=recent)").tokens_kept, 13) << quiet << ": known without";
  }
  EXPECT_EQ(embed_one(encoder, text, policy("skip_layers(layers=[1]) | merge_tokens(keep=[0.6,1])")).tokens_kept, 42);
}

// Nobody joins a token that is dropped at the same boundary: what it stood for would be lost, and nobody would count
// it.
TEST(TokenOperators, NothingIsLostWithAPartnerThatGoes) {
  Encoder encoder = tiny_encoder({.explain = true});
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Embedding got =
        embed_one(encoder, text_of_tokens(60, seed), policy("prune_tokens(keep=[0.6,1]) | merge_tokens(keep=[0.5,1])"));
    int32_t joined = 0;
    for (const TokenFate& fate : got.fates) {
      if (fate.joined < 0) continue;
      ++joined;
      EXPECT_LT(got.fates[size_t(fate.joined)].removed_at, 0);
    }
    EXPECT_GT(joined, 0);
  }
}

// The bits of a text hang on nothing but the text.
TEST(TokenOperators, ATextIsAloneInEveryBatch) {
  Encoder together = tiny_encoder({.threads = 2}), alone = tiny_encoder({.max_rows = 8});
  std::vector<std::string> texts;
  for (int32_t n = 0; n < 30; ++n) texts.push_back(text_of_tokens(n * 3, uint64_t(n)));
  for (const char* written :
       {"fuse_tokens | merge_tokens(keep=0.6, schedule=linear)", "prune_tokens(keep=0.4, by=entropy)",
        "prune_tokens(keep=0.8) | merge_tokens(keep=0.5, from_layer=2) | max_loss(attention=0.3)",
        "merge_tokens(keep=0.2, alike_at_least=0.5) | exit_when(signal=similarity, at_least=0.6)",
        "skip_sublayers(attention=[2]) | prune_tokens(keep=0.3, schedule=linear) | full_depth_at(tokens=word_begins)",
        "skip_when(similarity_above=0.6) | merge_tokens(keep=0.3, schedule=linear)",
        "exit_when(signal=attention_received, at_least=0.03) | prune_tokens(keep=0.5, by=norm)"}) {
    const std::vector<Embedding> got = embed(together, texts, policy(written));
    for (size_t i = 0; i < texts.size(); ++i) {
      const Embedding one = embed_one(alone, texts[i], policy(written));
      EXPECT_TRUE(same_bits<float>(one.values, got[i].values)) << written << ", text " << i;
      EXPECT_EQ(one.tokens_kept, got[i].tokens_kept);
    }
  }
}

// Shares are of one whole, and fates agree with what was kept.
TEST(TokenOperators, EveryTokenIsAccountedFor) {
  Encoder encoder = tiny_encoder({.threads = 2, .explain = true}), plain = tiny_encoder();
  const std::vector<std::string> texts{text_of_tokens(9, 1), text_of_tokens(50, 2), "a a a b b c"};
  for (const char* written : {"full_depth", "prune_tokens(keep=0.5)", "merge_tokens(keep=0.4, schedule=linear)",
                              "fuse_tokens | merge_tokens(keep=0.7) | prune_tokens(keep=0.5, from_layer=2)"}) {
    SCOPED_TRACE(written);
    const std::vector<Embedding> got = embed(encoder, texts, policy(written));
    const std::vector<Embedding> silent = embed(plain, texts, policy(written));
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_TRUE(same_bits<float>(got[i].values, silent[i].values)) << "looking changes nothing";
      EXPECT_TRUE(silent[i].fates.empty());
      ASSERT_EQ(std::ssize(got[i].fates), got[i].tokens);
      double sum = 0;
      int32_t stayed = 0;
      for (const TokenFate& fate : got[i].fates) {
        sum += double(fate.share);
        stayed += fate.removed_at < 0;
        EXPECT_EQ(fate.sources.empty(), fate.removed_at >= 0);
        EXPECT_TRUE(fate.joined < 0 || fate.removed_at >= 0);
        EXPECT_GE(fate.share, 0);
      }
      EXPECT_NEAR(sum, 1, 1e-4);
      EXPECT_EQ(stayed, got[i].tokens_kept);
    }
  }
}

// A stage of one's own that would have everything go.
struct all_go {
  Verdict verdict = Verdict::drop;
  static constexpr StageTraits traits{"all_go", StageKind::proposal};
  constexpr Decision operator()(const Step&, Decision decision) const noexcept {
    decision.verdict = decision.verdict | verdict;
    return decision;
  }
};

TEST(TokenOperators, NoTextGoesWhole) {
  Encoder encoder = tiny_encoder();
  for (const Verdict verdict : {Verdict::drop, Verdict::merge}) {
    const Embedding got = embed_one(encoder, text_of_tokens(20, 1), all_go{verdict});
    EXPECT_EQ(got.tokens_kept, verdict == Verdict::drop ? 2 : 22) << "a merge without a partner is none";
    for (const float x : got.values) EXPECT_TRUE(std::isfinite(x));
  }
}

RC_GTEST_PROP(TokenOperators, AnyPolicyLeavesAnEmbedding, ()) {
  Encoder encoder = tiny_encoder({.threads = 2});
  const auto number = [](int low, int high) { return *rc::gen::inRange(low, high); };
  std::string written;
  for (int i = 0; i < 6; ++i) {
    if (*rc::gen::arbitrary<bool>()) continue;
    const std::string keep = fmt::format("{}", number(1, 1001) / 1000.0);
    const char* kNoise[] = {"none", "word_begins"};
    const char* schedules[] = {"once", "linear", "cosine"};
    const char* orders[] = {"attention", "norm", "entropy", "recent", "random"};
    const std::string stage =
        i == 0   ? fmt::format("prune_tokens(keep={}, from_layer={}, by={}, schedule={}, blocks={})", keep,
                               number(1, kLayers + 1), orders[number(0, 5)], schedules[number(0, 3)], number(1, 20))
        : i == 1 ? fmt::format("merge_tokens(keep={}, from_layer={}, schedule={})", keep, number(1, kLayers + 1),
                               schedules[number(0, 3)])
        : i == 2 ? fmt::format("fuse_tokens(alike_at_least={}, noise={})", number(-1000, 1001) / 1000.0,
                               kNoise[number(0, 2)])
        : i == 3 ? fmt::format("exit_when(signal=similarity, at_least={})", number(0, 1000) / 1000.0)
        : i == 4 ? fmt::format("silence_heads(heads=[{}:1], factor=0.5)", number(1, kLayers + 1))
                 : fmt::format("skip_sublayers(attention=[{}])", number(1, kLayers + 1));
    written += (written.empty() ? "" : " | ") + stage;
  }
  if (written.empty()) written = "full_depth";
  if (*rc::gen::arbitrary<bool>()) written += fmt::format(" | max_loss(attention={})", number(0, 1001) / 1000.0);
  if (*rc::gen::arbitrary<bool>()) written += fmt::format(" | budget(tokens={})", number(1, 60));
  const std::string text = text_of_tokens(number(0, 100), uint64_t(number(0, 1000)));
  const Embedding got = embed_one(encoder, text, policy(written));
  double square = 0;
  for (const float x : got.values) square += double(x) * double(x);
  RC_ASSERT(std::abs(square - 1) < 1e-4);
  RC_ASSERT(got.tokens_kept >= 2 && got.tokens_kept <= got.tokens);
  RC_ASSERT(got.work > 0);
}

TEST(TokenOperators, ADecoderRefusesThem) {
  const Model model = testing::tiny_model();
  Session session = Session::make(model, {.max_tokens = 64}).value();
  const Row row{.token = 5};
  for (const char* written : {"prune_tokens(keep=0.5, on=all)", "merge_tokens(keep=0.5, on=all)", "fuse_tokens",
                              "max_loss(attention=0.1)", "budget(tokens=4)"}) {
    expect_refused(session.step({&row, 1}, policy(written).ref()), ErrorCode::unsupported, {"decoder", "leave"});
  }
}

}  // namespace
}  // namespace fathom
