// Costs of passes and rates of guesses, as the chooser of drafts keeps them. Next: src/engine/goodput.cc.
#include "src/engine/pass_times.h"

#include <gtest/gtest.h>

#include <cmath>

#include "fathom/engine/session.h"
#include "src/engine/guess_rate.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

TEST(PassTimes, BeforeAnythingIsMeasuredRowsAreNearlyFree) {
  const PassTimes times;
  EXPECT_DOUBLE_EQ(times.confirm(1), 1);
  EXPECT_DOUBLE_EQ(times.confirm(2), 1.03);
  EXPECT_DOUBLE_EQ(times.confirm(8), 1.5);
  for (int32_t n = 1; n < 100; ++n) {
    EXPECT_LT(times.confirm(n), times.confirm(n + 1));
    EXPECT_LT(times.settle(n), times.settle(n + 1));
  }
}

TEST(PassTimes, BeginsWithTheCostsItIsGiven) {
  const PassTimes times({.confirm = {1, 1.2, 1.8, 3.3, 6.6}, .settle = {.2, .25, .3, .5, 1}, .own = .85});
  EXPECT_DOUBLE_EQ(times.confirm(4), 1.8);
  EXPECT_DOUBLE_EQ(times.confirm(6), 2.55);
  EXPECT_DOUBLE_EQ(times.confirm(32), 13.2);  // by the last slope
  EXPECT_DOUBLE_EQ(times.settle(2), .25);
  EXPECT_DOUBLE_EQ(times.own(), .85);
}

TEST(PassCosts, OfASessionAreThoseOfItsModel) {
  Session session =
      Session::make(testing::tiny_model({.vocab = 4096, .type = DType::q8_0}), {.max_tokens = 16}).value();
  const PassCosts deferred = session.pass_costs(Policy::parse("defer_head(hot=64) | kv(verify)").value());
  EXPECT_TRUE(deferred.own_measured);
  EXPECT_DOUBLE_EQ(deferred.confirm[0], 1);
  for (size_t i = 1; i < PassCosts::kRows.size(); ++i) {
    EXPECT_GE(deferred.confirm[i], deferred.confirm[i - 1]) << PassCosts::kRows[i] << " rows";
    EXPECT_GE(deferred.settle[i], deferred.settle[i - 1]) << PassCosts::kRows[i] << " rows";
  }
  EXPECT_GT(deferred.own, 0);
  EXPECT_LT(deferred.own, 1);
  EXPECT_GT(deferred.own + deferred.settle[0], 1) << "a drafted row reads the layers and the shortlist";
  const PassCosts exits = session.pass_costs(Policy::parse("exit_at(2) | kv(verify)").value());
  EXPECT_FALSE(exits.own_measured) << "what an exit saves is not known before it is tried";
  EXPECT_EQ(exits.confirm, deferred.confirm) << "measured once";
}

TEST(PassTimes, WhatIsMeasuredCorrectsWhatLiesNearIt) {
  PassTimes times;
  for (int i = 0; i < 10; ++i) {
    times.learn_confirm(1, 0.02);
    times.learn_confirm(8, 0.02 * 3.3);
  }
  EXPECT_NEAR(times.confirm(8), 3.3, 0.1);
  EXPECT_NEAR(times.confirm(4), 1.85, 0.15);  // two thirds of the way in rows' logarithm
  EXPECT_NEAR(times.confirm(16), 2.6 * 2.2, 0.3);
  EXPECT_DOUBLE_EQ(times.confirm(1), 1);
}

TEST(PassTimes, OneSlowPassIsNotBelievedAndTwoAre) {
  PassTimes times;
  for (int i = 0; i < 5; ++i) times.learn_confirm(1, 0.01);
  times.learn_confirm(4, 0.1);
  EXPECT_DOUBLE_EQ(times.confirm(4), 1.1);
  times.learn_confirm(4, 0.1);
  EXPECT_GT(times.confirm(4), 1.6);
  times.learn_confirm(4, 0.011);  // a fast one shows that it can be fast
  EXPECT_LT(times.confirm(4), 1.5);
}

TEST(PassTimes, AMachineThatBecomesSlowerChangesNoRatio) {
  PassTimes times;
  for (int i = 0; i < 30; ++i) {
    times.learn_confirm(1, 0.01);
    times.learn_confirm(8, 0.03);
    times.learn_own(0.004);
    times.learn_settle(8, 0.02);
  }
  const double eight = times.confirm(8), own = times.own(), settle = times.settle(8);
  EXPECT_NEAR(own, 0.4, 0.02);
  EXPECT_NEAR(settle, 2, 0.1);
  for (int i = 0; i < 100; ++i) {  // twice as slow, and no pass of one row in sight
    times.learn_confirm(8, 0.06);
    times.learn_own(0.008);
    times.learn_settle(8, 0.04);
  }
  EXPECT_NEAR(times.confirm(8), eight, 0.35 * eight);
  for (int i = 0; i < 20; ++i) times.learn_confirm(1, 0.02), times.learn_confirm(8, 0.06);
  EXPECT_NEAR(times.confirm(8), eight, 0.1 * eight);
  EXPECT_NEAR(times.own(), own, 0.35 * own);
  EXPECT_NEAR(times.settle(8), settle, 0.35 * settle);
}

TEST(PassTimes, MoreRowsNeverCostLessThanOne) {
  PassTimes times;
  for (int i = 0; i < 4; ++i) times.learn_confirm(1, 1.0);  // a machine that was busy at first
  for (int i = 0; i < 10; ++i) times.learn_confirm(8, 0.05);
  EXPECT_GE(times.confirm(8), 1);
}

TEST(PassTimes, UnusableSecondsAreNotHeard) {
  PassTimes times;
  for (const double seconds : {0.0, -1.0, double{NAN}, double{INFINITY}}) {
    times.learn_confirm(1, seconds);
    times.learn_confirm(8, seconds);
    times.learn_own(seconds);
    times.learn_settle(4, seconds);
  }
  times.learn_confirm(0, 1);
  EXPECT_EQ(times.confirmed(), 0);
  EXPECT_DOUBLE_EQ(times.confirm(8), 1.5);
}

TEST(GuessRate, FollowsAChangeWithinThePassesThatItNames) {
  GuessRate rate;
  EXPECT_DOUBLE_EQ(rate.value(0.6, 2), 0.6);
  for (int i = 0; i < 100; ++i) rate.learn(4, true);
  EXPECT_NEAR(rate.value(0.6, 2), 0.8, 0.02);
  for (int i = 0; i < 16; ++i) rate.learn(0, true);
  EXPECT_LT(rate.value(0.6, 2), 0.03);
  for (int i = 0; i < 16; ++i) rate.learn(1, false);
  EXPECT_GT(rate.value(0.6, 2), 0.8);
}

TEST(GuessRate, ALongRunOfHitsDoesNotMakeOneMissWeighMore) {
  GuessRate rate;
  for (int i = 0; i < 40; ++i) rate.learn(19, true);
  rate.learn(200, false);
  rate.learn(0, true);
  EXPECT_GT(rate.value(0.6, 2), 0.93);
}

TEST(GuessRate, WhatWasNotTestedGrowsOld) {
  GuessRate rate;
  for (int i = 0; i < 50; ++i) rate.learn(0, true);
  EXPECT_LT(rate.value(0.6, 2), 0.01);
  for (int i = 0; i < 100; ++i) rate.forget();
  EXPECT_GT(rate.value(0.6, 2), 0.3);
}

}  // namespace
}  // namespace fathom
