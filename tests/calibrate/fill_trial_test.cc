// KV translators from text to a decision: fitted where they can be right, kept where that changes answers. Next:
// tests/calibrate/calibrate_test.cc.
#include "src/calibrate/fill_trial.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "src/calibrate/settings.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

constexpr int32_t kLayers = 5, kExit = 1, kVocab = 128, kWidth = 128;
constexpr size_t kTexts = 36;

// Below the last layer each row sees itself alone, and nothing but that is added to it: 16 directions of its own
// normalised state. So a map of rank 32 can nearly say what layers above an exit read. The last layer sees all rows.
Model nearly_linear(bool still) {
  testing::GgufWriter writer = testing::tiny_writer({.family = "gemma3",
                                                     .n_layers = kLayers,
                                                     .d_model = kWidth,
                                                     .heads = 1,
                                                     .kv_heads = 1,
                                                     .feed_forward = 192,
                                                     .vocab = kVocab,
                                                     .window = 1,
                                                     .window_pattern = kLayers,
                                                     .tokenizer = testing::TinyVocab::none});
  for (auto& tensor : writer.tensors) {
    const auto of_part = [&](const char* part) { return tensor.name.find(part) != std::string::npos; };
    const bool silent = of_part("ffn_down") || (still && of_part("attn_output") && !of_part("blk.0."));
    if (silent) std::fill(tensor.data.begin(), tensor.data.end(), std::byte{});
  }
  static std::vector<testing::Bytes> kept;  // a model reads its file's bytes
  kept.push_back(writer.bytes());
  return Model::from_bytes(kept.back(), {.numerics = Numerics::exact}).value();
}

struct Trying {
  explicit Trying(bool still) : model(nearly_linear(still)), runner(make()) {
    for (size_t t = 0; t < kTexts; ++t) {
      texts.push_back({.group = int32_t(t % 2), .lead = {1, 2}, .tokens = testing::random_ids(41, kVocab, 100 + t)});
      texts.back().unit = int64_t(t) / 2;
    }
    for (const PieceText& text : texts) all.push_back(&text);
  }
  PieceRunner make() {
    Pieces pieces;
    pieces.pieces.push_back({.tokens = std::vector<int32_t>(64)});
    return PieceRunner::make(model, pieces, 1).value();
  }
  // About half of the rows leave, by the sign of one direction of their states.
  FittedExits exits() const {
    FittedExit exit{.layer = kExit, .temperatures = {1, 1, 1}, .agreement = {}};
    exit.probe = {.state = std::vector<float>(kWidth), .confidence = 0};
    for (size_t i = 0; i < kWidth; ++i) exit.probe.state[i] = i % 3 == 0 ? 4.0f : -2.0f;
    exit.agreement.assign(3, AgreementMap{.slope = 1});
    return {.groups = {"a", "b"}, .exits = {exit}};
  }
  Proposal proposal() const {
    return {.exits = 1, .thresholds = {.9f, .5f}, .forecasts = {{{.1, .2}, .2}, {{.3, .4}, .4}}};
  }
  FillRecord tried() { return try_fills(runner, all, proposal(), exits(), progress).value(); }

  Model model;
  PieceRunner runner;
  std::vector<PieceText> texts;
  std::vector<const PieceText*> all;
  Progress progress{nullptr, nullptr};
};

TEST(KvTranslatorFit, SaysWhatLayersReadWhereThatIsNearlyALinearMap) {
  Trying t(false);
  const int32_t exits[] = {kExit, 3};
  const auto some = std::span(t.all);
  const FillFit fit = fit_fills(t.runner, some.first(24), some.subspan(24), exits, t.progress).value();
  ASSERT_EQ(fit.quality.size(), 4u) << "3, 4 and 5 behind 1, and 5 behind 3";
  ASSERT_EQ(fit.fills.size(), 2u);
  ASSERT_EQ(fit.fills[0].size(), 3u);
  ASSERT_EQ(fit.fills[1].size(), 1u);
  EXPECT_EQ(fit.fills[1][0].layer, 5);
  for (const FillQuality& q : fit.quality) {
    EXPECT_GT(q.plain, .1) << q.exit << " to " << q.layer;
    EXPECT_LT(q.translated, q.plain / 2) << q.exit << " to " << q.layer;
  }
  EXPECT_EQ(fill_bytes(fit.fills[0]), 3 * 2.0 * 2 * 32 * kWidth);
}

TEST(KvTranslatorFit, IsTheSameOnEveryNumberOfThreads) {
  Trying one(false);
  Pieces pieces;
  pieces.pieces.push_back({.tokens = std::vector<int32_t>(64)});
  PieceRunner three = PieceRunner::make(one.model, pieces, 3).value();
  const int32_t exits[] = {kExit, 2};
  const auto some = std::span(one.all);
  const FillFit a = fit_fills(one.runner, some.first(8), some.subspan(8, 4), exits, one.progress).value();
  const FillFit b = fit_fills(three, some.first(8), some.subspan(8, 4), exits, one.progress).value();
  EXPECT_EQ(a.fills, b.fills);
}

// What cells of full depth would give, and how much of the way there translators go.
TEST(KvTranslators, BringRowsBehindThoseThatLeftNearerToFullDepth) {
  Trying t(false);
  const FillRecord record = t.tried();
  const PieceText& text = *t.all[2];  // held out
  const Policy policy = Policy::parse(record.policy).value();
  std::vector<float> logits[3];
  std::vector<float> depths;
  for (int way = 0; way < 3; ++way) {
    const FittedExits exits = way == 2 ? with_fills(t.exits(), record.fitted) : t.exits();
    t.runner.session().use(ExitHeads::make(t.model, exits).value()).value();
    t.runner
        .run(text, way == 0 ? Policy() : policy,
             [&](const PieceStep& step) {
               const auto flat = step.logits.flat();
               logits[way].insert(logits[way].end(), flat.begin(), flat.end());
               for (const RowResult& row : step.rows) {
                 if (way == 1) depths.push_back(row.depth);
               }
             })
        .value();
  }
  double plain = 0, translated = 0;
  int deep = 0;
  for (size_t i = 0; i < logits[0].size(); ++i) {
    if (depths[i / kVocab] < kLayers) continue;
    deep += i % kVocab == 0;
    plain += std::pow(double(logits[1][i]) - double(logits[0][i]), 2);
    translated += std::pow(double(logits[2][i]) - double(logits[0][i]), 2);
  }
  ASSERT_GT(deep, 5);
  ASSERT_LT(deep, 36);
  EXPECT_LT(std::sqrt(translated), std::sqrt(plain) / 2);
}

TEST(KvTranslators, AreKeptWhereFewerAnswersDiffer) {
  Trying t(false);
  const FillRecord record = t.tried();
  EXPECT_EQ(record.policy, "exit_when(agreement_at_least=0.5)") << "the boldest";
  EXPECT_NEAR(record.exact, .35, 1e-9) << "mean over groups of what is forecast";
  EXPECT_EQ(record.gain.units, 6) << "twelve pieces held out, two of each document";
  EXPECT_LT(record.translated.loss, record.plain.loss);
  EXPECT_GT(record.translated.work, record.plain.work);
  EXPECT_TRUE(record.kept);
  const FittedExits with = with_fills(t.exits(), record.fitted);
  EXPECT_EQ(with.exits[0].fills, record.fitted.fills[0]);
}

TEST(KvTranslators, AreNotTriedWhereLayersReadWhatTheExitLeft) {
  Trying t(true);
  const FillRecord record = t.tried();
  EXPECT_FALSE(record.fitted.quality.empty());
  for (const FillQuality& q : record.fitted.quality) EXPECT_LT(q.plain, 1e-6);
  EXPECT_TRUE(record.fitted.fills[0].empty());
  EXPECT_TRUE(record.policy.empty());
  EXPECT_FALSE(record.kept);
}

TEST(FillGain, IsSureWhereItIsMoreThanNoiseBetweenUnits) {
  const int64_t units[] = {7, 7, 8, 9};
  // Of units .2, .1 and .3: a mean of .2 with a deviation of .1.
  const FillGain gain = gain_of(std::vector{.3f, .3f, .1f, .4f}, std::vector{.2f, .0f, .0f, .1f}, units);
  EXPECT_EQ(gain.units, 3);
  EXPECT_NEAR(gain.mean, .2, 1e-6);
  EXPECT_NEAR(gain.error, .1 / std::sqrt(3), 1e-6);
  EXPECT_TRUE(gain.is_sure());
  const FillGain noise = gain_of(std::vector{.3f, .0f, .1f, .4f}, std::vector{.0f, .3f, .2f, .1f}, units);
  EXPECT_FALSE(noise.is_sure()) << noise.mean << " and " << noise.error;
  const std::vector<float> same = {.1f, .2f, .3f, .4f};
  EXPECT_FALSE(gain_of(same, same, units).is_sure()) << "nothing is no gain";
  EXPECT_FALSE(gain_of(std::vector{.5f, .5f}, std::vector{.1f, .1f}, std::vector<int64_t>{3, 3}).is_sure())
      << "one unit says nothing of noise";
}

TEST(FillRecord, IsReadFromAJournalAsItWasWritten) {
  Trying t(false);
  FillRecord record = t.tried();
  Packer to;
  to(record);
  FillRecord read;
  Unpacker from(to.bytes);
  from(read);
  ASSERT_TRUE(from.at_end());
  EXPECT_EQ(read.fitted.fills, record.fitted.fills);
  EXPECT_EQ(read.policy, record.policy);
  EXPECT_EQ(read.kept, record.kept);
  EXPECT_EQ(read.gain.mean, record.gain.mean);
  EXPECT_EQ(read.fitted.quality.size(), record.fitted.quality.size());
}

}  // namespace
}  // namespace fathom
