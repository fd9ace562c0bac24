// Which places are asked, and what exits say there. Next: tests/calibrate/calibrate_test.cc.
#include "src/calibrate/exit_trials.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "src/calibrate/likely_tokens.h"
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

// Writes down how likely the engine's own checks take answers to be full depth's.
struct hear_agreement {
  std::vector<float>* seen;
  static constexpr StageTraits traits{"hear_agreement", StageKind::limit, Signal::agreement};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer == 1 || step.layer == 3) seen->push_back(step[Signal::agreement]);
    return decision;
  }
};

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
  std::shared_ptr<const ExitHeads> heads(std::vector<int32_t> shortlist = {}) {
    FittedExits fitted{.groups = {"a", "b"}, .exits = {}, .shortlist = std::move(shortlist)};
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

TEST(Places, ASpreadTakesEachGroupsShareEvenlyOverAsManyTextsAsHaveSixteen) {
  std::vector<PieceText> texts;
  for (int32_t i = 0; i < 60; ++i) texts.push_back(text_of(i % 3, i % 3 == 2 ? 3 : 65, 1));
  const auto places = spread_places(pointers(texts), 3, 600);
  std::vector<int64_t> n(3);
  for (size_t t = 0; t < texts.size(); ++t) {
    EXPECT_TRUE(std::is_sorted(places[t].begin(), places[t].end()));
    if (texts[t].group < 2 && t < 36) {  // 200 of the first 12 of 20 texts
      EXPECT_GE(std::ssize(places[t]), 16) << t;
      EXPECT_LE(std::ssize(places[t]), 17) << t;
      for (size_t i = 1; i < places[t].size(); ++i) EXPECT_LE(places[t][i] - places[t][i - 1], 4) << t;  // of 64
    } else if (texts[t].group < 2) {
      EXPECT_TRUE(places[t].empty()) << t;
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

TEST(ExitTrials, ListedScoresAreWhatChecksOfTheListSay) {
  Asking a;
  std::vector<int32_t> list(size_t(check_tokens(a.model.config().vocab)));
  for (size_t i = 0; i < list.size(); ++i) list[i] = int32_t(7 * i + 3);
  a.runner.session().use(a.heads(list)).value();
  const ExitTrials trials = a.ask();
  const PieceText& text = a.texts[1];
  std::vector<float> seen;
  const Policy policy = hear_agreement{&seen} | screen_checks{.tokens = int32_t(list.size())};
  a.runner.run(text, policy, [](const PieceStep&) {}).value();
  ASSERT_EQ(seen.size(), trials.texts[1].answers.size());
  // Steps are told by layer, then by row; trials by row, then by exit.
  size_t at = 0, far = 0;
  for (int32_t first = 0; first < text.places(); first += kRunnerRows) {
    const int32_t n = std::min(kRunnerRows, text.places() - first);
    for (size_t e = 0; e < 2; ++e) {
      for (int32_t r = 0; r < n; ++r) {
        const ExitAnswer& answer = trials.answer(trials.texts[1], size_t(first + r), e);
        const float p = 1 / (1 + std::exp(-answer.listed_score));
        EXPECT_NEAR(seen[at++], p, 1e-4f) << "place " << first + r << ", exit " << e;
        far += std::fabs(answer.listed_score - answer.score) > 1e-3f;
      }
    }
  }
  EXPECT_GT(far, 0u) << "a list of an eighth says the same as the whole head";
}

// One place whose answer is right at both exits; which of them lets it go hangs on what either head says.
TEST(ExitTrials, AForecastPaysForTheListAndForTheHeadOnlyWhereThatIsAsked) {
  ExitTrials trials{.layers = {2, 4}, .texts = {{.group = 0, .truth = {5}}}};
  trials.texts[0].answers = {{.token = 5}, {.token = 5}};
  const RowCost cost{.layers = .5, .head = .5, .translators = {.01, .01}, .list = .02, .n_layers = 10};
  const auto time = [&](std::vector<float> whole, std::vector<float> listed) {
    return forecast(trials, {.whole = {std::move(whole)}, .listed = {std::move(listed)}}, 1, 3, .9f, cost).time;
  };
  EXPECT_NEAR(time({.95f, .95f}, {.95f, .95f}), .5 * .2 + .03 + .51, 1e-9);  // leaves at once
  EXPECT_NEAR(time({.95f, .95f}, {.5f, .95f}), .5 * .4 + 2 * .03 + .51, 1e-9) << "the list alone keeps it";
  EXPECT_NEAR(time({.5f, .95f}, {.95f, .95f}), .5 * .4 + 2 * (.03 + .51), 1e-9) << "the head does not confirm";
  EXPECT_NEAR(time({.95f, .95f}, {.5f, .5f}), .5 + 2 * .03 + .5, 1e-9) << "never asked the head but at the end";
}

TEST(LikelyTokens, AreThoseOfTheTextAndThoseThatAreRankedHigh) {
  LikelyTokens likely(300);
  likely.stand(std::vector<int32_t>{200, 7, 200});
  std::vector<float> logits(300);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = float(i);
  likely.rank(logits);  // 236 to 299
  const std::vector<int32_t> list = likely.list(100);
  ASSERT_EQ(list.size(), 100u);
  EXPECT_EQ(list[0], 200) << "counted twice";
  EXPECT_EQ(list[1], 7);
  for (int32_t i = 0; i < 64; ++i) EXPECT_EQ(list[size_t(2 + i)], 236 + i);
  EXPECT_EQ(list[66], 0) << "the rest by id";
  EXPECT_EQ(likely.list(1000).size(), 300u);
}

}  // namespace
}  // namespace fathom
