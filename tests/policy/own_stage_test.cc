// A user's own stage, in a namespace of its own, beside built-in ones.
#include <gtest/gtest.h>

#include <string>

#include "fathom/policy/policy.h"

namespace mine {

using fathom::Decision;
using fathom::RowKind;
using fathom::Signal;
using fathom::StageKind;
using fathom::Step;
using fathom::Verdict;

/// Leaves after `layer` where the last prediction was sure. Prints itself.
struct exit_when_calm {
  float entropy_below = 0.5f;
  int layer = 4;

  static constexpr fathom::StageTraits traits{"exit_when_calm", StageKind::proposal, Signal::last_entropy};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer >= layer && step[Signal::last_entropy] < entropy_below) decision.verdict = Verdict::exit;
    return decision;
  }
  std::string text() const { return "exit_when_calm(layer=" + std::to_string(layer) + ")"; }
};

/// Reads a signal, and proposes nothing.
struct greedy {
  static constexpr fathom::StageTraits traits{"greedy", StageKind::proposal, Signal::exit_margin};
  Decision operator()(const Step&, Decision decision) const noexcept { return decision; }
};

/// Always says the same, without a text of its own.
template <StageKind kind, Verdict verdict>
struct stubborn {
  static constexpr fathom::StageTraits traits{"stubborn", kind};
  Decision operator()(const Step&, Decision decision) const noexcept {
    decision.verdict = verdict;
    decision.stage = 99;
    return decision;
  }
};

}  // namespace mine

namespace fathom {
namespace {

Step at(int32_t layer) {
  Step step;
  step.layer = layer;
  step.n_layers = 12;
  return step;
}

TEST(OwnStage, JoinsBuiltInOnesAndDecides) {
  const Policy policy = mine::exit_when_calm{.layer = 4} | min_depth{.layers = 6};
  Step step = at(7);
  step.signals[static_cast<int>(Signal::last_entropy)] = 0.1f;
  Decision decision;
  policy.ref().table->decide(policy.ref().self, &step, &decision, 1);
  EXPECT_EQ(decision, (Decision{Verdict::exit, 0}));
  step.layer = 5;
  decision = {};
  policy.ref().table->decide(policy.ref().self, &step, &decision, 1);
  EXPECT_EQ(decision, (Decision{Verdict::run, 1}));
  EXPECT_TRUE(policy.is_sequential());
}

TEST(OwnStage, PrintsItsTextOrItsNameAndTheParserSaysItDoesNotKnowIt) {
  const Policy policy = mine::exit_when_calm{.layer = 4} | min_depth{.layers = 6};
  EXPECT_EQ(policy.text(), "exit_when_calm(layer=4) | min_depth(layers=6)");
  EXPECT_EQ(Policy(mine::stubborn<StageKind::limit, Verdict::run>{}).text(), "stubborn(?)");
  const auto read = Policy::parse(policy.text());
  ASSERT_FALSE(read.has_value());
  EXPECT_NE(read.error().message.find("'exit_when_calm' is no built-in stage"), std::string::npos)
      << read.error().message;
}

TEST(OwnStage, WithoutReadsAtReadsItsSignalsAtEveryBoundaryButTheFirst) {
  const Policy policy = mine::greedy{};
  for (int32_t layer = 0; layer < 12; ++layer) {
    const SignalSet reads = policy.ref().table->reads(policy.ref().self, layer, 12, RowKind::prompt);
    EXPECT_EQ(reads, layer == 0 ? SignalSet() : SignalSet(Signal::exit_margin)) << layer;
  }
}

TEST(OwnStage, AProposalCannotTakeBackWhatAnotherProposed) {
  const auto policy = exit_at{.layer = 3} | mine::stubborn<StageKind::proposal, Verdict::run>{};
  EXPECT_EQ(policy(at(3)), (Decision{Verdict::exit, 0}));
}

TEST(OwnStage, CannotLeaveBeforeTheFirstLayer) {
  const auto policy = pipeline<>{} | mine::stubborn<StageKind::limit, Verdict::exit>{};
  EXPECT_EQ(policy(at(0)), Decision{});
  EXPECT_EQ(policy(at(1)), (Decision{Verdict::exit, 0}));
}

TEST(OwnStage, IsTakenToSaveUnlessItSaysItNeverDoes) {
  EXPECT_FALSE(Policy(mine::stubborn<StageKind::limit, Verdict::run>{}).is_full_depth());
}

}  // namespace
}  // namespace fathom
