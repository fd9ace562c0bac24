// Limits hold on any text, under any policy; and the watch that says so sees what breaks them.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "fathom/calibrate/attack.h"
#include "src/calibrate/limit_watch.h"
#include "tests/laws/policy_generators.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

const Model& deep() {
  static const Model model = testing::tiny_model({.n_layers = laws::kLayers, .d_model = 32, .feed_forward = 48});
  return model;
}

// Limits and debts are what is tested: every policy has one at least.
RC_GTEST_PROP(AdversarialLimits, HoldForEveryPolicyOnSequencesThatTempt, ()) {
  std::vector<policy_text::AnyStage> stages;
  for (int n = *rc::gen::inRange(1, 3); n > 0; --n) stages.push_back(laws::any_of(StageKind::proposal));
  for (int n = *rc::gen::inRange(1, 3); n > 0; --n) stages.push_back(laws::any_of(StageKind::limit));
  if (*rc::gen::arbitrary<bool>()) stages.push_back(laws::any_of(StageKind::setting));
  const Policy policy = Policy::parse(laws::text_of(stages)).value();
  RC_LOG(policy.text());
  const Result<Attack> made = attack(deep(), {.policy = policy},
                                     {.tokens = 16,
                                      .sequences = 2,
                                      .candidates = 2,
                                      .safeguards = {"full_depth_first(tokens=3)"},
                                      .seed = *rc::gen::inRange<uint64_t>(0, 1000)});
  if (!made && made.error().message.find("calibrate the model") != std::string::npos) {
    RC_DISCARD("nothing is fitted that it needs");
  }
  if (!made && made.error().code == ErrorCode::unsupported) RC_DISCARD("it is of encoders");
  if (!made) RC_FAIL(made.error().message);
  const Attack& found = *made;
  for (const LimitCheck& check : found.limits) {
    if (check.broken > 0) RC_LOG(check.limit);
    RC_ASSERT(check.broken == 0);
    RC_ASSERT(check.rows > 0);
  }
}

// Rows that are made up, as a session that broke its limits would report them.
class Watched {
 public:
  explicit Watched(const char* policy) : watch_(LimitWatch::make(Policy::parse(policy).value(), 8, 1).value()) {
    watch_.begin();
  }
  Watched& row(float depth, double macs = 1, int32_t owed = 0) {
    watch_.see({.depth = depth, .macs = macs, .step_macs = macs, .full_macs = 1}, owed);
    return *this;
  }
  Watched& settle(double macs) {
    watch_.settle({.step_macs = macs});
    return *this;
  }
  int64_t broken() const {
    int64_t n = 0;
    for (const LimitCheck& check : watch_.checks()) n += check.broken;
    return n;
  }
  size_t watched() const { return watch_.checks().size(); }

 private:
  LimitWatch watch_;
};

TEST(LimitWatch, SeesEachLimitBroken) {
  EXPECT_EQ(Watched("exit_at(2) | min_depth(4)").row(4).row(3.5f).broken(), 1);
  EXPECT_EQ(Watched("exit_at(2) | max_depth(4)").row(4).row(5).broken(), 1);
  EXPECT_EQ(Watched("exit_at(2) | full_depth_first(2)").row(8).row(7).row(2).broken(), 1);
  EXPECT_EQ(Watched("exit_at(2) | kv(settle_later, max_rows=3)").row(2, 1, 3).row(2, 1, 4).broken(), 1);
  EXPECT_EQ(Watched("exit_at(2) | budget(0.5)").row(4, 0.5).row(4, 0.51).broken(), 1);
}

TEST(LimitWatch, ABudgetAddsUpAndARowThatLeavesAtOnceMayOverspend) {
  EXPECT_EQ(Watched("exit_at(2) | budget(0.5)").row(4, 0.2).row(6, 0.8).broken(), 0);
  EXPECT_EQ(Watched("exit_at(2) | budget(0.5)").row(4, 0.2).row(6, 0.9).broken(), 1);
  EXPECT_EQ(Watched("exit_at(2) | budget(0.5)").row(1, 0.7).row(1, 0.7).broken(), 0);
  EXPECT_EQ(Watched("exit_at(2) | budget(0.5) | kv(settle_later)").row(2, 0.4).settle(0.6).row(2, 0.2).broken(), 1);
}

TEST(LimitWatch, OnlyWhatHasTheLastWordIsWatched) {
  EXPECT_EQ(Watched("exit_at(2) | min_depth(4) | max_depth(3)").watched(), 1u) << "max_depth";
  EXPECT_EQ(Watched("exit_at(2) | budget(0.5) | min_depth(4)").watched(), 1u) << "min_depth";
  EXPECT_EQ(Watched("exit_at(2) | max_depth(3) | full_depth_first(2)").watched(), 1u) << "full_depth_first";
  EXPECT_EQ(Watched("exit_at(2) | budget(0.5) | max_depth(3)").watched(), 2u);
  EXPECT_EQ(Watched("exit_at(2) | max_depth(3, on=prompt)").watched(), 0u);
  EXPECT_EQ(Watched("exit_at(2) | kv(fill)").watched(), 0u);
}

}  // namespace
}  // namespace fathom
