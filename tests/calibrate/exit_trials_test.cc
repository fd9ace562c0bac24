// Which places are asked, and what exits say there. Next: tests/calibrate/calibrate_test.cc.
#include "src/calibrate/exit_trials.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "src/calibrate/place_sample.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

PieceText text_of(int32_t group, int32_t n, uint64_t seed) {
  PieceText text{.group = group, .lead = {}, .tokens = testing::random_ids(n, 320, seed)};
  text.lead = {1, 2};
  return text;
}

std::vector<const PieceText*> pointers(const std::vector<PieceText>& texts) {
  std::vector<const PieceText*> out;
  for (const PieceText& text : texts) out.push_back(&text);
  return out;
}

struct Asking {
  Model model = testing::tiny_model({.type = DType::q8_0});
  std::vector<PieceText> texts = {text_of(0, 40, 1), text_of(1, 70, 2), text_of(0, 9, 3)};
  PieceRunner runner = make();
  Progress progress{nullptr, nullptr};
  std::vector<int32_t> layers = {1, 3};

  PieceRunner make() {
    Pieces pieces;
    pieces.pieces.push_back({.tokens = std::vector<int32_t>(80)});
    return PieceRunner::make(model, pieces, 1).value();
  }
  std::shared_ptr<const ExitHeads> heads() {
    FittedExits fitted{.groups = {"a", "b"}, .exits = {}};
    for (const int32_t layer : layers) {
      fitted.exits.push_back(
          {.layer = layer, .temperatures = {.5f, 3, 1.25f}, .probe = {.margin = .5f, .entropy = -1}, .agreement = {}});
      fitted.exits.back().agreement.assign(3, AgreementMap{.slope = 1});
    }
    return ExitHeads::make(model, fitted).value();
  }
  ExitTrials ask(std::span<const std::vector<int32_t>> places = {}) {
    return try_exits(runner, pointers(texts), layers, progress, places).value();
  }
};

TEST(Places, ASpreadTakesEachGroupsShareEvenlyOverItsTexts) {
  std::vector<PieceText> texts;
  for (int32_t i = 0; i < 60; ++i) texts.push_back(text_of(i % 3, i % 3 == 2 ? 3 : 65, 1));
  const auto places = spread_places(pointers(texts), 3, 600);
  std::vector<int64_t> n(3);
  for (size_t t = 0; t < texts.size(); ++t) {
    EXPECT_TRUE(std::is_sorted(places[t].begin(), places[t].end()));
    if (texts[t].group < 2) {
      EXPECT_EQ(std::ssize(places[t]), 10) << t;  // 200 of 20 texts
      for (size_t i = 1; i < places[t].size(); ++i) EXPECT_LE(places[t][i] - places[t][i - 1], 7) << t;  // of 64
    }
    n[size_t(texts[t].group)] += std::ssize(places[t]);
  }
  EXPECT_EQ(n, (std::vector<int64_t>{200, 200, 40}));  // the last has no more
}

TEST(Places, TheFirstTextsOfAGroupAreAskedWhole) {
  std::vector<PieceText> texts;
  for (int32_t i = 0; i < 10; ++i) texts.push_back(text_of(i < 8 ? 0 : 1, 11, 1));
  const auto places = first_places(pointers(texts), 2, 64);
  for (size_t t = 0; t < texts.size(); ++t) EXPECT_EQ(places[t].size(), t < 3 || t >= 8 ? 10u : 0u) << t;
  const auto fewest = first_places(pointers(texts), 2, 2);
  EXPECT_EQ(fewest[0].size(), 10u) << "one text of each group in any case";
}

TEST(ExitTrials, AnswersHangOnNoOtherPlaceThatIsAsked) {
  Asking a;
  a.runner.session().use(a.heads()).value();
  const ExitTrials all = a.ask();
  const std::vector<std::vector<int32_t>> asked = {{0, 7, 8, 38}, {3, 63, 64, 68}, {}};
  const ExitTrials some = a.ask(asked);
  ASSERT_EQ(some.texts.size(), 3u);
  EXPECT_TRUE(some.texts[2].answers.empty());
  for (size_t t = 0; t < 2; ++t) {
    ASSERT_EQ(some.texts[t].truth.size(), asked[t].size());
    for (size_t i = 0; i < asked[t].size(); ++i) {
      const auto place = size_t(asked[t][i]);
      EXPECT_EQ(some.texts[t].truth[i], all.texts[t].truth[place]);
      for (size_t e = 0; e < a.layers.size(); ++e) {
        const ExitAnswer &one = some.answer(some.texts[t], i, e), &other = all.answer(all.texts[t], place, e);
        EXPECT_EQ(one.token, other.token);
        EXPECT_EQ(one.score, other.score);
        EXPECT_EQ(one.own_score, other.own_score);
        EXPECT_EQ(one.entropy, other.entropy);
      }
      const float last = some.texts[t].last_entropy[i];
      const bool known = i > 0 && asked[t][i - 1] + 1 == asked[t][i];
      EXPECT_EQ(std::isnan(last), !known) << "text " << t << ", place " << place;
      if (known) {
        EXPECT_EQ(last, all.texts[t].last_entropy[place]);
      }
    }
  }
}

TEST(ExitTrials, OwnScoresAreThoseThatTheGroupsTemperatureGives) {
  Asking a;
  a.runner.session().use(a.heads()).value();
  const ExitTrials all = a.ask();
  for (int32_t g = 0; g < 2; ++g) {
    a.runner.session().use(a.heads(), g == 0 ? "a" : "b").value();
    const ExitTrials own = a.ask();
    for (size_t t = 0; t < a.texts.size(); ++t) {
      if (a.texts[t].group != g) continue;
      for (size_t i = 0; i < own.texts[t].answers.size(); ++i) {
        const ExitAnswer &said = all.texts[t].answers[i], &meant = own.texts[t].answers[i];
        EXPECT_NEAR(said.own_score, meant.score, 2e-3f * (1 + std::fabs(meant.score))) << "text " << t << ", " << i;
        EXPECT_GT(std::fabs(said.own_score - said.score), 1e-2f);
      }
    }
  }
}

}  // namespace
}  // namespace fathom
