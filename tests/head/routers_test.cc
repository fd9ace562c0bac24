// Routers against double precision, and rows under policies that ask them.
#include "fathom/head/routers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "fathom/engine/generate.h"
#include "fathom/trace/replay.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;
using testing::run;

constexpr int32_t kLayers = 6, kRows = 12;

const Model& model() {
  static const Model once = testing::tiny_model({.n_layers = kLayers, .type = DType::q8_0});
  return once;
}

// Random weights over a map that is not saturated, so that rows differ.
FittedRouter random_router(int32_t layer, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, .3f);
  FittedRouter router{.layer = layer, .bias = normal(random), .spare = {.slope = 1, .offset = 0}};
  for (int32_t i = 0; i < model().config().d_model; ++i) router.weights.push_back(normal(random));
  return router;
}

// Says the same of every row.
FittedRouter constant(int32_t layer, float utility) {
  FittedRouter router = random_router(layer, 1);
  std::fill(router.weights.begin(), router.weights.end(), 0.0f);
  router.bias = 0;
  router.spare = {.slope = 0, .offset = std::log((1 - utility) / utility)};
  return router;
}

std::shared_ptr<const Routers> random_routers() {
  return Routers::make(model(), {random_router(1, 11), random_router(2, 12), random_router(4, 13)}).value();
}

Session session(std::shared_ptr<const Routers> routers) {
  Session made =
      Session::make(model(), {.max_tokens = 64, .max_sequences = 2, .max_rows = 32, .max_logit_rows = 32}).value();
  made.use_routers(std::move(routers)).value();
  return made;
}

Outcome routed(Session& s, const char* policy, int32_t chunk = kRows) {
  const Policy p = Policy::parse(policy).value();
  s.truncate(0, 0).value();
  return run(s, random_ids(kRows, model().config().vocab, 7),
             {.chunk = chunk, .kind = RowKind::generated, .policy = p.ref()});
}

TEST(Routers, AScoreIsThatOfDoublePrecision) {
  std::mt19937_64 random(3);
  std::normal_distribution<float> normal(0, 5);
  for (const size_t d : {1u, 7u, 8u, 64u, 643u}) {
    FittedRouter router{.layer = 1, .weights = {}, .bias = .25f};
    std::vector<float> state;
    for (size_t i = 0; i < d; ++i) router.weights.push_back(normal(random)), state.push_back(normal(random));
    double square = 0, dot = 0, size = 0;
    for (size_t i = 0; i < d; ++i) {
      square += double(state[i]) * state[i];
      dot += double(state[i]) * router.weights[i];
      size += std::fabs(double(state[i]) * router.weights[i]);
    }
    const double scale = 1 / std::sqrt(square / double(d) + 1e-12);
    // d sums of floats, each rounded: 6e-8 of what is summed, d times at worst.
    EXPECT_NEAR(router.score(state), .25 + dot * scale, (double(d) + 4) * 6e-8 * (size * scale + 1)) << d;
  }
}

TEST(Routers, AStateThatIsNoNumberNeedsEveryLayer) {
  const FittedRouter router = random_router(1, 5);
  std::vector<float> state(router.weights.size(), 1);
  EXPECT_LT(router.utility(state), 1);
  state[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(router.utility(state), 1);
  state[3] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(router.utility(state), 1);
}

TEST(Routers, LightRowsRunOnlyWhatIsNamed) {
  const auto routers = Routers::make(model(), {constant(2, .1f), constant(4, .6f)}).value();
  Session s = session(routers);
  const struct {
    const char* policy;
    float depth;
  } cases[] = {{"route(utility_below=0.05)", 6},
               {"route(utility_below=0.2)", 5},
               {"route(utility_below=0.7)", 4},
               {"route(utility_below=0.7, light=feed_forward)", 5},
               {"route(utility_below=0.7, light=attention)", 5},
               {"route(utility_below=0.7, from_layer=3)", 5},
               {"route(utility_below=0.7, on=prompt)", 6},
               {"route(utility_below=0.7) | min_depth(layers=3)", 5}};
  for (const auto& c : cases) {
    for (const RowResult& row : routed(s, c.policy).rows) EXPECT_EQ(row.depth, c.depth) << c.policy;
  }
}

TEST(Routers, ALightRowIsOneThatSkipsTheSamePart) {
  const auto routers = Routers::make(model(), {constant(2, .1f), constant(4, .1f)}).value();
  Session s = session(routers);
  const std::pair<const char*, const char*> same[] = {
      {"route(utility_below=0.5)", "skip_layers(layers=[3,5])"},
      {"route(utility_below=0.5, light=feed_forward)", "skip_sublayers(attention=[3,5])"},
      {"route(utility_below=0.5, light=attention)", "skip_sublayers(feed_forward=[3,5])"}};
  for (const auto& [asked, told] : same) EXPECT_EQ(routed(s, asked).logits, routed(s, told).logits) << asked;
}

TEST(Routers, CellsOfLightRowsAreFilled) {
  const auto routers = Routers::make(model(), {constant(2, .1f)}).value();
  Session s = session(routers);
  routed(s, "route(utility_below=0.5, light=feed_forward)");
  for (int32_t p = 0; p < kRows; ++p) {
    EXPECT_FALSE(s.cache().has_hole(0, p));
    EXPECT_NE(s.cache().provenance(3, 0, p), Provenance::missing) << p;
    EXPECT_NE(s.cache().provenance(5, 0, p), Provenance::exact) << p;
  }
}

TEST(Routers, ARowIsRoutedAloneAsBesideOthers) {
  Session s = session(random_routers());
  for (const char* policy : {"route(utility_below=0.5)", "route(utility_below=0.4, light=feed_forward)"}) {
    const Outcome together = routed(s, policy), alone = routed(s, policy, 1);
    EXPECT_EQ(together.logits, alone.logits) << policy;
    float least = kLayers, most = 0;
    for (size_t i = 0; i < together.rows.size(); ++i) {
      EXPECT_EQ(together.rows[i].depth, alone.rows[i].depth) << policy << ", row " << i;
      least = std::min(least, alone.rows[i].depth), most = std::max(most, alone.rows[i].depth);
    }
    EXPECT_LT(least, most) << policy << " treats all rows alike, which shows nothing";
  }
}

TEST(Routers, ARoutersAnswerIsPaidForWhereAStageAsksAndNowhereElse) {
  Session s = session(random_routers());
  const double d = model().config().d_model;
  const Outcome full = routed(s, "full_depth"), asked = routed(s, "route(utility_below=0)"),
                late = routed(s, "route(utility_below=0, from_layer=3)");
  EXPECT_EQ(full.logits, asked.logits);
  for (size_t i = 0; i < full.rows.size(); ++i) {
    EXPECT_EQ(full.rows[i].macs, full.rows[i].full_macs);
    EXPECT_DOUBLE_EQ(asked.rows[i].macs, full.rows[i].macs + 3 * 2 * d);
    EXPECT_DOUBLE_EQ(late.rows[i].macs, full.rows[i].macs + 2 * d);
  }
}

TEST(Routers, WhatRowsDraftOnLightWaysIsVerifiedToFullDepthsText) {
  Session s = session(random_routers());
  const std::vector<int32_t> prompt = random_ids(6, model().config().vocab, 5);
  const auto full = generate(s, prompt, {.max_new_tokens = 30}).value().tokens;
  const Policy policy = Policy::parse("route(utility_below=0.6) | kv(verify)").value();
  EXPECT_EQ(generate(s, prompt, {.max_new_tokens = 30, .policy = policy}).value().tokens, full);
}

TEST(Routers, ATraceOfRoutesReplaysThoughSomeLayersHaveNone) {
  const std::string path = ::testing::TempDir() + "fathom_routers_" + std::to_string(getpid());
  const Policy policy = Policy::parse("route(utility_below=0.5) | budget(of_full=0.95)").value();
  Session s = session(random_routers());
  {
    Trace trace = Trace::create(path, {.policy = policy.text(), .n_layers = kLayers}).value();
    const std::vector<int32_t> prompt = random_ids(4, model().config().vocab, 5);
    generate(s, prompt, {.max_new_tokens = 20, .policy = policy, .trace = &trace}).value();
    trace.finish().value();
  }
  TraceReader reader = TraceReader::open(path).value();
  const ReplayReport report = replay(reader, policy.ref()).value();
  unlink(path.c_str());
  EXPECT_FALSE(report.first_difference.has_value());
  EXPECT_EQ(report.depth_known_rows, report.generated_rows);
  EXPECT_EQ(report.decided_same, report.rows);
}

TEST(Routers, APolicyThatNeedsThemIsRefusedWithoutThem) {
  Session s = session(nullptr);
  const auto refused = generate(s, std::vector<int32_t>{1, 2}, {.policy = route{.utility_below = .1f}});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("calibrate the model"), std::string::npos) << refused.error().message;
}

TEST(Routers, WhatDoesNotFitTheModelIsRefusedByLayer) {
  const auto refused = [&](std::vector<FittedRouter> routers) {
    const auto made = Routers::make(model(), std::move(routers));
    return made.has_value() ? std::string() : made.error().message;
  };
  EXPECT_NE(refused({}).find("none were fitted"), std::string::npos);
  EXPECT_NE(refused({constant(0, .5f)}).find("layer 0: layers rise from 1 to 5"), std::string::npos);
  EXPECT_NE(refused({constant(kLayers, .5f)}).find("layers rise"), std::string::npos);
  EXPECT_NE(refused({constant(2, .5f), constant(2, .5f)}).find("layer 2: layers rise"), std::string::npos);
  FittedRouter narrow = constant(1, .5f);
  narrow.weights.pop_back();
  EXPECT_NE(refused({narrow}).find("63 weights for states of 64"), std::string::npos);
  FittedRouter broken = constant(1, .5f);
  broken.bias = std::numeric_limits<float>::infinity();
  EXPECT_NE(refused({broken}).find("not finite"), std::string::npos);
  Session other = Session::make(testing::tiny_model({.n_layers = 4}), {.max_tokens = 8}).value();
  const auto foreign = other.use_routers(random_routers());
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("routers for 6 layers"), std::string::npos);
}

}  // namespace
}  // namespace fathom
