// What each built-in stage says at each boundary, and which signals it asks for there.
#include <gtest/gtest.h>

#include <type_traits>

#include "fathom/policy/policy.h"

namespace fathom {
namespace {

constexpr int32_t kLayers = 12;

Step at(int32_t layer, RowKind kind = RowKind::generated) {
  Step step;
  step.layer = layer;
  step.n_layers = kLayers;
  step.kind = kind;
  step.generated = kind == RowKind::generated ? 100 : 0;
  return step;
}
Step seeing(int32_t layer, Signal signal, float value, RowKind kind = RowKind::generated) {
  Step step = at(layer, kind);
  step.signals[static_cast<int>(signal)] = value;
  return step;
}
template <class P>
Verdict says(const P& policy, const Step& step) {
  Decision decision;
  const Policy owned = policy;
  owned.ref().table->decide(owned.ref().self, &step, &decision, 1);
  return decision.verdict;
}

static_assert(std::is_trivially_copyable_v<exit_at> && std::is_trivially_copyable_v<exit_when> &&
              std::is_trivially_copyable_v<skip_layers> && std::is_trivially_copyable_v<skip_sublayers>);

TEST(FullDepth, RunsEveryLayerAndReadsNothing) {
  for (const Policy& policy : {Policy(), Policy(full_depth{}), Policy::parse("full_depth").value()}) {
    EXPECT_TRUE(policy.is_full_depth());
    EXPECT_EQ(policy.text(), "full_depth");
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      const Step step = at(layer);
      Decision decision;
      policy.ref().table->decide(policy.ref().self, &step, &decision, 1);
      EXPECT_EQ(decision, Decision{});
      EXPECT_TRUE(policy.ref().table->reads(policy.ref().self, layer, kLayers, RowKind::generated).empty());
    }
  }
}

TEST(FullDepth, IsClaimedByRestoringLimitsAndSettingsAloneAndByNothingThatSaves) {
  EXPECT_TRUE(Policy(min_depth{.layers = 3} | full_depth_first{.tokens = 4} | kv{}).is_full_depth());
  EXPECT_TRUE(Policy::parse("min_depth(3) | kv(fill)").value().is_full_depth());
  EXPECT_FALSE(Policy(max_depth{.layers = 3}).is_full_depth());
  EXPECT_FALSE(Policy(budget{.of_full = 1}).is_full_depth());
  EXPECT_FALSE(Policy::parse("exit_at(3) | min_depth(12)").value().is_full_depth());
}

TEST(ExitAt, LeavesAfterItsLayerAndNotBefore) {
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_EQ(says(exit_at{.layer = 4}, at(layer)), layer >= 4 ? Verdict::exit : Verdict::run) << layer;
  }
}

TEST(ExitAt, LeavesPromptRowsAloneUnlessToldOtherwise) {
  EXPECT_EQ(says(exit_at{.layer = 4}, at(6, RowKind::prompt)), Verdict::run);
  EXPECT_EQ(says(exit_at{.layer = 4, .on = On::all}, at(6, RowKind::prompt)), Verdict::exit);
  EXPECT_EQ(says(exit_at{.layer = 4, .on = On::prompt}, at(6, RowKind::prompt)), Verdict::exit);
  EXPECT_EQ(says(exit_at{.layer = 4, .on = On::prompt}, at(6)), Verdict::run);
}

TEST(ExitAt, WithoutALayerNeverSaves) {
  for (int32_t layer = 0; layer < kLayers; ++layer) EXPECT_EQ(says(exit_at{}, at(layer)), Verdict::run);
}

TEST(ExitWhen, TakesTheBoundAndRefusesWhatIsBelowIt) {
  const exit_when stage{.confidence_at_least = 0.9f};
  EXPECT_EQ(says(stage, seeing(3, Signal::exit_confidence, 0.9f)), Verdict::exit);
  EXPECT_EQ(says(stage, seeing(3, Signal::exit_confidence, 0.899f)), Verdict::run);
  EXPECT_EQ(says(exit_when{.entropy_below = 0.5f}, seeing(3, Signal::exit_entropy, 0.5f)), Verdict::run);
  EXPECT_EQ(says(exit_when{.entropy_below = 0.5f}, seeing(3, Signal::exit_entropy, 0.49f)), Verdict::exit);
}

TEST(ExitWhen, NeedsEveryConditionItNames) {
  const exit_when stage{.confidence_at_least = 0.9f, .margin_at_least = 0.5f};
  Step step = seeing(3, Signal::exit_confidence, 0.95f);
  EXPECT_EQ(says(stage, step), Verdict::run);  // the margin was not computed
  step.signals[static_cast<int>(Signal::exit_margin)] = 0.4f;
  EXPECT_EQ(says(stage, step), Verdict::run);
  step.signals[static_cast<int>(Signal::exit_margin)] = 0.5f;
  EXPECT_EQ(says(stage, step), Verdict::exit);
}

TEST(ExitWhen, BoundsAnySignalFromBelowAndFromAbove) {
  const exit_when between{.signal = Signal::similarity, .at_least = 0.9f, .below = 0.95f};
  EXPECT_EQ(says(between, seeing(3, Signal::similarity, 0.9f)), Verdict::exit);
  EXPECT_EQ(says(between, seeing(3, Signal::similarity, 0.95f)), Verdict::run);
  EXPECT_EQ(says(between, seeing(3, Signal::similarity, 0.89f)), Verdict::run);
  EXPECT_EQ(says(between, at(3)), Verdict::run) << "not computed";
  for (int s = 0; s < kSignals; ++s) {
    const auto signal = static_cast<Signal>(s);
    const exit_when stage{.signal = signal, .at_least = 1.0f};
    for (int other = 0; other < kSignals; ++other) {
      EXPECT_EQ(says(stage, seeing(3, static_cast<Signal>(other), 1.0f)), s == other ? Verdict::exit : Verdict::run);
    }
    const Policy policy = stage;
    const auto reads = policy.ref().table->reads(policy.ref().self, 3, kLayers, RowKind::generated);
    EXPECT_EQ(reads, SignalSet(signal)) << kSignalNames[s];
  }
}

TEST(ExitWhen, ABoundOfNoSignalHoldsNeverAndASignalWithoutABoundIsNotRead) {
  Step step = at(5);
  for (float& s : step.signals) s = 1;
  EXPECT_EQ(says(exit_when{.confidence_at_least = 0.0f, .at_least = 0.0f}, step), Verdict::run);
  EXPECT_EQ(says(exit_when{.signal = Signal::similarity}, step), Verdict::run);
  EXPECT_TRUE(exit_when{.signal = Signal::similarity}.reads_at(3, kLayers, RowKind::generated).empty());
}

TEST(ExitWhen, WithoutAConditionNeverSaves) {
  Step step = at(5);
  for (float& s : step.signals) s = 1;
  EXPECT_EQ(says(exit_when{}, step), Verdict::run);
  EXPECT_FALSE(Policy(exit_when{}).check(kLayers).has_value());
}

TEST(ExitWhen, ReadsOnlyWhatItNamesAndOnlyWhereItLooks) {
  const Policy policy = exit_when{.confidence_at_least = 0.9f, .entropy_below = 1.0f, .from_layer = 4, .every = 3};
  const SignalSet both = SignalSet(Signal::exit_confidence) | Signal::exit_entropy;
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    const bool looks = layer == 4 || layer == 7 || layer == 10;
    const auto reads = [&](RowKind kind) { return policy.ref().table->reads(policy.ref().self, layer, kLayers, kind); };
    EXPECT_EQ(reads(RowKind::generated), looks ? both : SignalSet()) << layer;
    EXPECT_TRUE(reads(RowKind::prompt).empty()) << layer;
  }
}

TEST(ExitWhen, IgnoresSignalsAtBoundariesItDoesNotLookAt) {
  const exit_when stage{.confidence_at_least = 0.9f, .from_layer = 4, .every = 3};
  EXPECT_EQ(says(stage, seeing(5, Signal::exit_confidence, 1.0f)), Verdict::run);
  EXPECT_EQ(says(stage, seeing(7, Signal::exit_confidence, 1.0f)), Verdict::exit);
}

TEST(Patience, LeavesAtTheCountItAsksFor) {
  EXPECT_EQ(says(patience{.agreeing = 3}, seeing(6, Signal::agreeing, 2)), Verdict::run);
  EXPECT_EQ(says(patience{.agreeing = 3}, seeing(6, Signal::agreeing, 3)), Verdict::exit);
  EXPECT_EQ(says(patience{.agreeing = 3}, at(6)), Verdict::run);
}

TEST(SkipLayers, DecidesAboutTheLayerAfterTheBoundary) {
  const skip_layers stage{.layers = {1, 9}};
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_EQ(says(stage, at(layer)), layer == 0 || layer == 8 ? Verdict::skip_layer : Verdict::run) << layer;
  }
  EXPECT_EQ(says(stage, at(8, RowKind::prompt)), Verdict::run);
}

TEST(SkipSublayers, JoinHalvesToAWholeLayer) {
  const skip_sublayers stage{.attention = {2, 3}, .feed_forward = {3, 4}};
  EXPECT_EQ(says(stage, at(1)), Verdict::skip_attention);
  EXPECT_EQ(says(stage, at(2)), Verdict::skip_layer);
  EXPECT_EQ(says(stage, at(3)), Verdict::skip_feed_forward);
  EXPECT_EQ(says(skip_sublayers{.attention = {2}} | skip_sublayers{.feed_forward = {2}}, at(1)), Verdict::skip_layer);
}

TEST(SkipWhen, ComparesThePartItSkips) {
  const struct {
    Part part;
    Signal signal;
    Verdict verdict;
  } cases[] = {{Part::layer, Signal::similarity, Verdict::skip_layer},
               {Part::attention, Signal::similarity_attention, Verdict::skip_attention},
               {Part::feed_forward, Signal::similarity_feed_forward, Verdict::skip_feed_forward}};
  for (const auto& c : cases) {
    const skip_when stage{.similarity_above = 0.99f, .part = c.part, .from_layer = 2};
    EXPECT_EQ(says(stage, seeing(5, c.signal, 0.995f)), c.verdict);
    EXPECT_EQ(says(stage, seeing(5, c.signal, 0.99f)), Verdict::run);
    EXPECT_EQ(says(stage, seeing(1, c.signal, 0.995f)), Verdict::run);
    EXPECT_EQ(says(stage, at(5)), Verdict::run);
    EXPECT_EQ(stage.reads_at(5, kLayers, RowKind::generated), SignalSet(c.signal));
    EXPECT_TRUE(stage.reads_at(1, kLayers, RowKind::generated).empty());
  }
}

TEST(Route, LeavesOutOfTheComingLayerWhatIsNotNamed) {
  const std::pair<Light, Verdict> cases[] = {{Light::none, Verdict::skip_layer},
                                             {Light::feed_forward, Verdict::skip_attention},
                                             {Light::attention, Verdict::skip_feed_forward}};
  for (const auto& [light, verdict] : cases) {
    const route stage{.utility_below = 0.25f, .light = light};
    EXPECT_EQ(says(stage, seeing(3, Signal::utility, 0.24f)), verdict);
    EXPECT_EQ(says(stage, seeing(3, Signal::utility, 0.25f)), Verdict::run);
    EXPECT_EQ(says(stage, at(3)), Verdict::run) << "a missing signal saves nothing";
  }
}

TEST(Route, ReadsOnlyWhereItLooksAndNeverAHead) {
  const Policy policy = route{.utility_below = 0.5f, .from_layer = 4};
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    const auto reads = [&](RowKind kind) { return policy.ref().table->reads(policy.ref().self, layer, kLayers, kind); };
    EXPECT_EQ(reads(RowKind::generated), layer >= 4 ? SignalSet(Signal::utility) : SignalSet()) << layer;
    EXPECT_TRUE(reads(RowKind::prompt).empty());
  }
  EXPECT_FALSE(kExitSignals.has(Signal::utility));
}

TEST(Route, WithoutAThresholdNeverSaves) {
  EXPECT_EQ(says(route{}, seeing(3, Signal::utility, 0)), Verdict::run);
  EXPECT_FALSE(Policy::parse("route(light=none)").has_value());
  EXPECT_EQ(Policy::parse("route(0.25, feed_forward)").value().text(), "route(utility_below=0.25, light=feed_forward)");
}

TEST(MinDepth, ClearsExitsAndSkipsOfTheFirstLayersOnly) {
  const auto policy = exit_at{.layer = 2} | skip_layers{.layers = {3}} | min_depth{.layers = 5};
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_EQ(says(policy, at(layer)), layer < 5 ? Verdict::run : Verdict::exit) << layer;
  }
}

TEST(MinDepth, SparesTheChecksItWouldOverrule) {
  const Policy policy = exit_when{.confidence_at_least = 0.9f} | min_depth{.layers = 5};
  const Policy counting = patience{.agreeing = 2} | min_depth{.layers = 5};
  for (int32_t layer = 1; layer < kLayers; ++layer) {
    EXPECT_EQ(policy.ref().table->reads(policy.ref().self, layer, kLayers, RowKind::generated).empty(), layer < 5);
    EXPECT_TRUE(
        counting.ref().table->reads(counting.ref().self, layer, kLayers, RowKind::generated).has(Signal::agreeing));
  }
}

TEST(MaxDepth, ForcesTheExitOfGeneratedRows) {
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_EQ(says(max_depth{.layers = 5}, at(layer)), layer >= 5 ? Verdict::exit : Verdict::run) << layer;
  }
  EXPECT_EQ(says(max_depth{.layers = 5}, at(7, RowKind::prompt)), Verdict::run);
}

TEST(Limits, TheOneFurthestRightHasTheLastWord) {
  EXPECT_EQ(says(max_depth{.layers = 3} | min_depth{.layers = 6}, at(4)), Verdict::run);
  EXPECT_EQ(says(min_depth{.layers = 6} | max_depth{.layers = 3}, at(4)), Verdict::exit);
}

TEST(Budget, ForcesTheExitWhereOneLayerMoreWouldPassTheShare) {
  Step step = at(4);
  step.work_spent = 5.0f;
  step.work_rows = 11;  // 6.6 units may be spent
  step.work_if_run = 1.5f;
  EXPECT_EQ(says(budget{.of_full = 0.6f}, step), Verdict::run);
  step.work_if_run = 1.75f;
  EXPECT_EQ(says(budget{.of_full = 0.6f}, step), Verdict::exit);
  step.kind = RowKind::prompt;
  EXPECT_EQ(says(budget{.of_full = 0.6f}, step), Verdict::run);
}

TEST(Budget, NeverLeavesBeforeTheFirstLayerEvenWhenThatDoesNotFit) {
  Step step = at(0);
  step.work_spent = 10;
  step.work_rows = 11;
  step.work_if_run = 0.3f;
  EXPECT_EQ(says(budget{.of_full = 0.1f}, step), Verdict::run);
  step.layer = 1;
  EXPECT_EQ(says(budget{.of_full = 0.1f}, step), Verdict::exit);
}

TEST(Budget, AndExitsByTheLastPredictionAloneNeedRowsInOrder) {
  EXPECT_TRUE(Policy(exit_when{.signal = Signal::last_entropy, .below = 1.0f}).is_sequential());
  EXPECT_TRUE(Policy::parse("exit_when(signal=last_entropy, below=1)").value().is_sequential());
  EXPECT_FALSE(Policy::parse("exit_when(signal=similarity, below=1)").value().is_sequential());
  EXPECT_TRUE(Policy(exit_at{.layer = 3} | budget{.of_full = 0.6f}).is_sequential());
  EXPECT_TRUE(Policy::parse("exit_at(3) | budget(0.6)").value().is_sequential());
  EXPECT_FALSE(Policy::parse("exit_when(0.9) | patience(2) | skip_when(0.9) | min_depth(2)").value().is_sequential());
  EXPECT_FALSE(Policy(exit_at{.layer = 3} | full_depth_first{.tokens = 2}).is_sequential());
}

TEST(FullDepthFirst, RestoresTheFirstRowsOfASequence) {
  const auto policy = exit_at{.layer = 2} | full_depth_first{.tokens = 16};
  Step step = at(5);
  step.generated = 15;
  EXPECT_EQ(says(policy, step), Verdict::run);
  step.generated = 16;
  EXPECT_EQ(says(policy, step), Verdict::exit);
}

TEST(LayerSet, KeepsItsLayersWhateverTheOrderAndReportsWhatDoesNotFit) {
  const LayerSet set = {1024, 1, 65, 64};
  for (int32_t layer = -1; layer <= 1100; ++layer) {
    EXPECT_EQ(set.has(layer), layer == 1 || layer == 64 || layer == 65 || layer == 1024) << layer;
  }
  EXPECT_TRUE(set == LayerSet({1, 64, 65, 1024, 1}));
  EXPECT_FALSE(set.has_refused());
  EXPECT_EQ(LayerSet({1, 1025}).refused(), 1025);
  EXPECT_TRUE(LayerSet({0}).has_refused());
}

}  // namespace
}  // namespace fathom
