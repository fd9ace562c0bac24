// Full depth beside a policy: what is lost at each place, by tokens and by what they are drawn from.
// Next: tests/calibrate/temperature_certificate_test.cc.
#include "src/calibrate/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/calibrate/exit_collectors.h"
#include "src/calibrate/exit_trials.h"
#include "src/calibrate/settings.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

constexpr double kTemperature = .8;
constexpr int32_t kTokens = 150;  // three steps of a runner

struct Compared {
  Model model = testing::tiny_model({.type = DType::q8_0});
  std::vector<PieceText> texts = {text_of(0, kTokens, 1), text_of(1, 40, 2)};
  PieceRunner runner = make();
  Progress progress{nullptr, nullptr};

  static PieceText text_of(int32_t group, int32_t n, uint64_t seed) {
    return {.group = group, .lead = {1, 2, 3}, .tokens = testing::random_ids(n, 320, seed)};
  }
  PieceRunner make() {
    Pieces pieces;
    pieces.pieces.push_back({.tokens = std::vector<int32_t>(kTokens)});
    return PieceRunner::make(model, pieces, 2).value();
  }
  std::vector<const PieceText*> pointers() const { return {&texts[0], &texts[1]}; }

  std::vector<std::vector<float>> losses(const Policy& policy) {
    const auto truth = true_tokens(runner, pointers(), progress).value();
    Reference reference(runner);
    std::vector<std::vector<float>> out;
    for (size_t t = 0; t < texts.size(); ++t) {
      std::vector<float>& of = out.emplace_back();
      const std::vector<int32_t> compared = texts[t].compared();
      reference.begin(texts[t], compared, truth[t]).value();
      runner
          .run(texts[t], policy,
               [&](const PieceStep& step) -> Result<void> {
                 FATHOM_TRY(const std::span<const float> losses, reference.losses(step));
                 of.insert(of.end(), losses.begin(), losses.end());
                 return {};
               })
          .value();
    }
    return out;
  }

  // [places, vocab] by a session of its own, the lead at full depth.
  std::vector<float> logits(const PieceText& text, const Policy& policy) {
    Session session = Session::make(model, {.max_tokens = 200, .max_rows = 160, .max_logit_rows = 160}).value();
    std::vector<Row> rows;
    for (size_t i = 0; i < text.lead.size(); ++i) rows.push_back({.token = text.lead[i], .position = int32_t(i)});
    session.step(rows).value();
    rows.clear();
    for (int32_t p = 0; p < text.places(); ++p) {
      rows.push_back({.token = text.tokens[size_t(p)],
                      .position = int32_t(text.lead.size()) + p,
                      .kind = RowKind::generated,
                      .logits = true});
    }
    const StepResult said = session.step(rows, policy.ref()).value();
    return {said.logits.data(), said.logits.data() + said.logits.size()};
  }
};

TEST(Reference, LosesAtEachPlaceWhatTheLogitsOfBothSay) {
  Compared c;
  const auto vocab = size_t(c.model.config().vocab);
  const Policy policy = exit_at{.layer = 2};
  const auto by_token = c.losses(policy);
  c.runner.compare_by(Loss(kTemperature));
  const auto by_variation = c.losses(policy);
  for (size_t t = 0; t < c.texts.size(); ++t) {
    const std::vector<float> full = c.logits(c.texts[t], Policy()), early = c.logits(c.texts[t], policy);
    ASSERT_EQ(by_variation[t].size(), size_t(c.texts[t].places()));
    for (size_t p = 0; p < by_variation[t].size(); ++p) {
      const auto a = std::span(full).subspan(p * vocab, vocab), b = std::span(early).subspan(p * vocab, vocab);
      EXPECT_EQ(by_variation[t][p], float(total_variation(a, b, kTemperature))) << "text " << t << ", place " << p;
      const bool same =
          std::max_element(a.begin(), a.end()) - a.begin() == std::max_element(b.begin(), b.end()) - b.begin();
      EXPECT_EQ(by_token[t][p], same ? 0 : 1) << "text " << t << ", place " << p;
    }
  }
}

TEST(Reference, FullDepthLosesNothingByAnyLoss) {
  Compared c;
  for (const double t : {0.0, kTemperature}) {
    c.runner.compare_by(Loss(t));
    for (const auto& of : c.losses(Policy())) {
      EXPECT_TRUE(std::all_of(of.begin(), of.end(), [](float loss) { return loss == 0; })) << "temperature " << t;
    }
  }
}

// Such a policy runs a row at a time, full depth beside it 64.
TEST(Reference, StepsOfAnotherLengthAreComparedPlaceByPlace) {
  Compared c;
  c.runner.compare_by(Loss(kTemperature));
  const Policy policy = Policy::parse("exit_at(layer=2) | full_depth_after(low_margin=0.2, rows=2)").value();
  ASSERT_TRUE(policy.is_sequential());
  const auto losses = c.losses(policy);
  const auto run =
      run_setting(c.runner, c.pointers(), std::vector<std::vector<int32_t>>(2), policy, 2, c.progress).value();
  int deep = 0;
  for (size_t t = 0; t < 2; ++t) {
    double mean = 0;
    for (const float loss : losses[t]) mean += loss / double(losses[t].size());
    EXPECT_NEAR(run.losses[t], mean, 1e-6);
    EXPECT_EQ(run.mean_loss[t], run.losses[t]) << "a group of one piece";
    deep += int(std::count(run.depths[t].begin(), run.depths[t].end(), float(c.model.config().n_layers)));
  }
  EXPECT_GT(deep, 0);
}

TEST(Reference, KeepsTokensOnlyWhereTheyAreEnough) {
  Compared c;
  const auto truth = true_tokens(c.runner, c.pointers(), c.progress).value();
  EXPECT_EQ(truth[0].size(), size_t(kTokens - 1));
  c.runner.compare_by(Loss(kTemperature));
  const auto none = true_tokens(c.runner, c.pointers(), c.progress).value();
  ASSERT_EQ(none.size(), 2u);
  EXPECT_TRUE(none[0].empty());
}

// What a trial says that leaving loses is what a policy loses that leaves.
TEST(Reference, TrialsOfExitsLoseWhatLeavingThereLoses) {
  Compared c;
  FittedExits fitted{.groups = {"a", "b"}, .exits = {}, .shortlist = {}};
  const std::vector<int32_t> layers = {1, 3};
  for (const int32_t layer : layers) {
    fitted.exits.push_back(
        {.layer = layer, .temperatures = {.5f, 3, 1.25f}, .probe = {.margin = .5f}, .agreement = {}});
    fitted.exits.back().agreement.assign(3, AgreementMap{.slope = 1});
  }
  const auto heads = ExitHeads::make(c.model, fitted).value();
  const std::vector<std::vector<int32_t>> asked = {{0, 7, 63, 64, 130, 148}, {}};
  for (const double temperature : {0.0, kTemperature}) {
    c.runner.compare_by(Loss(temperature));
    c.runner.session().use(heads).value();
    const ExitTrials all = try_exits(c.runner, c.pointers(), layers, c.progress).value();
    const ExitTrials some = try_exits(c.runner, c.pointers(), layers, c.progress, asked).value();
    for (size_t e = 0; e < layers.size(); ++e) {
      const Policy policy = exit_at{.layer = layers[e]};
      c.runner.session().use(heads).value();
      const auto losses = c.losses(policy);
      for (size_t t = 0; t < 2; ++t) {
        c.runner.session().use(heads, fitted.groups[t]).value();
        const auto own = c.losses(policy);
        for (size_t p = 0; p < losses[t].size(); ++p) {
          const ExitAnswer& answer = all.answer(all.texts[t], p, e);
          EXPECT_EQ(answer.loss, losses[t][p]) << "text " << t << ", place " << p << ", exit " << e;
          // The group's logits are those of all, scaled: not the same bits.
          EXPECT_NEAR(answer.own_loss, own[t][p], temperature > 0 ? 1e-4 : 0) << "text " << t << ", place " << p;
        }
      }
      for (size_t i = 0; i < asked[0].size(); ++i) {
        EXPECT_EQ(some.answer(some.texts[0], i, e).loss, all.answer(all.texts[0], size_t(asked[0][i]), e).loss);
      }
    }
  }
}

// Mean cross-entropy of draws at an exit whose logits are divided by `heat`, against what full depth draws.
double cross_entropy(const std::vector<float>& full, const std::vector<float>& early, size_t vocab, double heat) {
  const auto log_softmax = [&](std::span<const float> logits, double divisor) {
    const double max = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float x : logits) sum += std::exp((x - max) / divisor);
    std::vector<double> out;
    for (const float x : logits) out.push_back((x - max) / divisor - std::log(sum));
    return out;
  };
  double sum = 0;
  for (size_t p = 0; p * vocab < full.size(); ++p) {
    const auto a = log_softmax(std::span(full).subspan(p * vocab, vocab), kTemperature);
    const auto b = log_softmax(std::span(early).subspan(p * vocab, vocab), kTemperature * heat);
    for (size_t i = 0; i < vocab; ++i) sum -= std::exp(a[i]) * b[i];
  }
  return sum / double(full.size() / vocab);
}

// Full depth's own tokens would make an exit surer than full depth is.
TEST(Reference, TemperaturesOfExitsAreThoseAtWhichTheyDrawAsFullDepthDoes) {
  Compared c;
  c.runner.compare_by(Loss(kTemperature));
  const std::vector<int32_t> layers = {3};
  LogitCollector collector(layers, 1, c.runner);
  const PieceText& text = c.texts[0];
  std::vector<int32_t> all(size_t(text.places()));
  std::iota(all.begin(), all.end(), 0);
  collector.begin(text, all, {});
  c.runner.session().observe(&collector);
  c.runner.run_at(text, all, [&](const PieceStep& step) { collector.step_done(step.stats.size()); }).value();
  c.runner.session().observe(nullptr);
  const auto fits = collector.fit().value();
  ASSERT_EQ(fits.size(), 2u);
  EXPECT_EQ(fits[0].temperature, fits[1].temperature) << "one group is all";
  const double heat = fits[0].temperature;
  const std::vector<float> full = c.logits(text, Policy()), early = c.logits(text, exit_at{.layer = 3});
  const auto of = [&](double t) { return cross_entropy(full, early, size_t(c.model.config().vocab), t); };
  EXPECT_NEAR(fits[0].nll_before, of(1), 1e-3);
  EXPECT_NEAR(fits[0].nll_after, of(heat), 2e-3);
  for (const double other : {heat * .8, heat * .93, heat * 1.07, heat * 1.25}) EXPECT_LT(of(heat), of(other)) << other;
}

}  // namespace
}  // namespace fathom
