// What was fitted for exits, against the same in double, and under policies that leave.
#include "fathom/head/exit_heads.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "fathom/engine/generate.h"
#include "fathom/engine/session.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::random_ids;

// Always as sure as asked, whatever the answer.
AgreementMap constant(float p) { return {.slope = 0, .offset = std::log(p / (1 - p))}; }

FittedExit plain(int32_t layer, float temperature, AgreementMap map, size_t groups = 0) {
  FittedExit exit{.layer = layer};
  exit.temperatures.assign(groups + 1, temperature);
  exit.agreement.assign(groups + 1, map);
  return exit;
}

std::vector<float> logits_after(const Model& model, const char* policy, std::shared_ptr<const ExitHeads> exits,
                                float* depth = nullptr) {
  Session session = Session::make(model, {.max_tokens = 32}).value();
  session.use(std::move(exits)).value();
  const std::vector<int32_t> ids = random_ids(9, model.config().vocab, 3);
  std::vector<Row> rows;
  for (size_t i = 0; i < ids.size(); ++i) {
    rows.push_back(
        {.token = ids[i], .position = int32_t(i), .kind = RowKind::generated, .logits = i + 1 == ids.size()});
  }
  const Policy p = Policy::parse(policy).value();
  const StepResult result = session.step(rows, p.ref()).value();
  if (depth != nullptr) *depth = result.rows.back().depth;
  return {result.logits.data(), result.logits.data() + result.logits.size()};
}

TEST(ExitHeads, WithoutATranslatorAndAtTemperatureOneChangeNoBit) {
  const Model model = testing::tiny_model({.type = DType::q8_0});
  const auto exits = ExitHeads::make(model, {.groups = {}, .exits = {plain(2, 1, constant(.9f))}}).value();
  EXPECT_EQ(logits_after(model, "exit_at(2)", exits), logits_after(model, "exit_at(2)", nullptr));
}

TEST(ExitHeads, ATemperatureDividesTheLogits) {
  const Model model = testing::tiny_model({.type = DType::f32}, {.numerics = Numerics::exact});
  const auto exits = ExitHeads::make(model, {.groups = {}, .exits = {plain(2, 4, constant(.9f))}}).value();
  const std::vector<float> as_is = logits_after(model, "exit_at(2)", nullptr);
  const std::vector<float> tempered = logits_after(model, "exit_at(2)", exits);
  for (size_t i = 0; i < as_is.size(); ++i) EXPECT_EQ(tempered[i], as_is[i] / 4) << i;  // a power of two is exact
}

// The translator that undoes nothing but doubles every state changes no normed state; a bias along one axis does.
TEST(ExitHeads, TranslateTheStateBeforeTheNorm) {
  const Model model = testing::tiny_model({.type = DType::f32}, {.numerics = Numerics::exact});
  const auto d = static_cast<size_t>(model.config().d_model);
  FittedExit doubling = plain(2, 1, constant(.9f));
  doubling.translator.assign(d * d, 0);
  for (size_t i = 0; i < d; ++i) doubling.translator[i * d + i] = 1;
  doubling.bias.assign(d, 0);
  const std::vector<float> as_is = logits_after(model, "exit_at(2)", nullptr);
  const std::vector<float> doubled =
      logits_after(model, "exit_at(2)", ExitHeads::make(model, {.groups = {}, .exits = {doubling}}).value());
  for (size_t i = 0; i < as_is.size(); ++i) EXPECT_NEAR(doubled[i], as_is[i], 1e-3f * (1 + std::fabs(as_is[i]))) << i;
  FittedExit moved = doubling;
  moved.bias[1] = 100;
  EXPECT_NE(logits_after(model, "exit_at(2)", ExitHeads::make(model, {.groups = {}, .exits = {moved}}).value()),
            doubled);
}

TEST(ExitHeads, RowsLeaveWhereTheFittedProbabilityReachesWhatIsAskedFor) {
  const Model model = testing::tiny_model({.type = DType::q8_0});
  const auto exits =
      ExitHeads::make(model, {.groups = {}, .exits = {plain(1, 1, constant(.5f)), plain(3, 1, constant(.97f))}})
          .value();
  float depth = 0;
  logits_after(model, "exit_when(agreement_at_least=0.4)", exits, &depth);
  EXPECT_EQ(depth, 1);
  logits_after(model, "exit_when(agreement_at_least=0.9)", exits, &depth);
  EXPECT_EQ(depth, 3) << "layer 2 has no exit";
  logits_after(model, "exit_when(agreement_at_least=0.99)", exits, &depth);
  EXPECT_EQ(depth, model.config().n_layers);
}

TEST(ExitHeads, GroupsHaveTheirOwnMaps) {
  const Model model = testing::tiny_model({.type = DType::q8_0});
  FittedExit exit = plain(2, 1, constant(.1f), 1);
  exit.agreement[0] = constant(.99f);
  const auto exits = ExitHeads::make(model, {.groups = {"code"}, .exits = {exit}}).value();
  const Policy policy = Policy::parse("exit_when(agreement_at_least=0.9)").value();
  const auto depth = [&](std::string_view group) {
    Session session = Session::make(model, {.max_tokens = 8}).value();
    session.use(exits, group).value();
    const Row rows[] = {{.token = 1, .kind = RowKind::generated, .logits = true}};
    return session.step(rows, policy.ref()).value().rows[0].depth;
  };
  EXPECT_EQ(depth("code"), 2);
  EXPECT_EQ(depth(""), model.config().n_layers);
  Session session = Session::make(model, {.max_tokens = 8}).value();
  const auto refused = session.use(exits, "prose");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("'prose': calibration knows code"), std::string::npos);
}

TEST(ExitHeads, ADraftOfAFittedExitIsStillFullDepthsText) {
  const Model model = testing::tiny_model({.type = DType::q8_0});
  const auto exits = ExitHeads::make(model, {.groups = {}, .exits = {plain(2, .5f, constant(.97f))}}).value();
  Session session = Session::make(model, {.max_tokens = 64}).value();
  const std::vector<int32_t> prompt = random_ids(6, model.config().vocab, 5);
  const auto full = generate(session, prompt, {.max_new_tokens = 40}).value().tokens;
  session.use(exits).value();
  const Policy policy = Policy::parse("exit_when(agreement_at_least=0.9) | kv(verify)").value();
  EXPECT_EQ(generate(session, prompt, {.max_new_tokens = 40, .policy = policy}).value().tokens, full);
}

TEST(ExitHeads, APolicyThatNeedsThemIsRefusedWithoutThem) {
  Session session = Session::make(testing::tiny_model({}), {.max_tokens = 8}).value();
  const auto refused = generate(session, std::vector<int32_t>{1, 2},
                                {.policy = Policy::parse("exit_when(agreement_at_least=0.9)").value()});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("calibrate the model"), std::string::npos) << refused.error().message;
}

TEST(ExitHeads, WhatDoesNotFitIsRefusedByLayer) {
  const Model model = testing::tiny_model({});
  const auto refused = [&](FittedExit exit) {
    const auto made = ExitHeads::make(model, {.groups = {}, .exits = {std::move(exit)}});
    return made.has_value() ? std::string() : made.error().message;
  };
  EXPECT_NE(refused(plain(0, 1, {})).find("layer 0"), std::string::npos);
  EXPECT_NE(refused(plain(model.config().n_layers, 1, {})).find("layers rise"), std::string::npos);
  EXPECT_NE(refused(plain(1, 0, {})).find("temperature 0"), std::string::npos);
  EXPECT_NE(refused(plain(1, 1, {}, 2)).find("3 temperatures"), std::string::npos);
  FittedExit half = plain(1, 1, {});
  half.translator.assign(7, 0);
  EXPECT_NE(refused(half).find("a translator of 7"), std::string::npos);
}

TEST(ExitHeads, AScoreIsTheLogitOfTheLargestProbability) {
  for (const float p : {.01f, .5f, .9f, .999f}) {
    EXPECT_NEAR(confidence_score({.max = std::log(p), .log_sum = 0}), std::log(p / (1 - p)), 1e-3f);
  }
  EXPECT_EQ(confidence_score({.max = 3, .log_sum = 3}), 16);
}

}  // namespace
}  // namespace fathom
