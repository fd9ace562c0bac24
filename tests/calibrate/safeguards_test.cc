// Which classes of tokens a proposal keeps at full depth, on trials that were written down.
#include "src/calibrate/safeguards.h"

#include <gtest/gtest.h>

#include <random>

namespace fathom {
namespace {

using enum TokenClass;

constexpr uint32_t kExit = 1;
const RowCost kCost{.layers = 0.9, .head = 0.1, .translators = {0.01}, .n_layers = 10};
constexpr double kRisks[] = {0.02};

// A token of each class, and its id is the class.
std::vector<TokenClass> vocabulary() {
  std::vector<TokenClass> classes;
  for (int c = 0; c < kTokenClasses; ++c) classes.push_back(static_cast<TokenClass>(c));
  return classes;
}

struct Written {
  ExitTrials trials{.layers = {3}, .texts = {}};
  TrialAgreement agreement;
};

// One exit that is as sure of everything, one token in ten a digit, behind which it errs at `digits_err`.
Written written(double digits_err, double others_err) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> uniform;
  Written w;
  for (int t = 0; t < 100; ++t) {
    TextTrial& text = w.trials.texts.emplace_back();
    for (int p = 0; p < 60; ++p) {
      const bool digit = p % 10 == 0;
      const bool wrong = uniform(random) < (digit ? digits_err : others_err);
      text.tokens.push_back(int32_t(digit ? digits : p % 2 != 0 ? word_begins : word_parts));
      text.truth.push_back(0);
      text.answers.push_back({.token = wrong ? 1 : 0, .loss = wrong ? 1.0f : 0.0f});
    }
    w.agreement.whole.emplace_back(60, 0.95f);
    w.agreement.listed.emplace_back(60, 0.95f);
  }
  return w;
}

Proposal proposal(const Written& w) { return thresholds_for(w.trials, w.agreement, 1, kExit, kRisks, 6, kCost); }
Proposal with(const Written& w) {
  return with_safeguards(proposal(w), w.trials, w.agreement, 1, kRisks, 6, kCost, vocabulary());
}

TEST(RiskyClasses, AreThoseThatErrSurelyMoreOften) {
  const Written w = written(0.3, 0.01);
  EXPECT_EQ(risky_classes(w.trials, w.agreement, kExit, 0.9f, vocabulary()), std::vector<TokenClass>{digits});
  EXPECT_TRUE(risky_classes(w.trials, w.agreement, kExit, 0.99f, vocabulary()).empty()) << "nothing leaves there";
}

TEST(RiskyClasses, AreNoneByChance) {
  const Written w = written(0.03, 0.03);
  EXPECT_TRUE(risky_classes(w.trials, w.agreement, kExit, 0.9f, vocabulary()).empty());
}

TEST(WithSafeguards, KeepsAClassWhereTheOthersMayThenLeave) {
  const Written w = written(0.3, 0.008);
  const Proposal safer = with(w);
  EXPECT_EQ(safer.guarded, std::vector<TokenClass>{digits});
  const int32_t fastest = safer.best_at(kRisks[0]);
  ASSERT_GE(fastest, 0);
  EXPECT_LE(safer.forecasts[size_t(fastest)].worst, 0.012);
  EXPECT_NEAR(safer.forecasts[size_t(fastest)].mean_depth, 0.1 * 10 + 0.9 * 3, 1e-9);
  EXPECT_LT(safer.forecasts[size_t(fastest)].time, proposal(w).forecasts[0].time);
}

TEST(WithSafeguards, LeavesAProposalAsItIsWhereNothingIsGained) {
  for (const Written& w : {written(0.01, 0.002), written(0.03, 0.03), written(0.3, 0.1)}) {
    const Proposal plain = proposal(w), same = with(w);
    EXPECT_TRUE(same.guarded.empty());
    EXPECT_EQ(same.thresholds, plain.thresholds);
  }
}

TEST(Guarded, OnlyRowsOfTheClassLeaveNowhere) {
  const Written w = written(0.3, 0.01);
  const TokenClass kept[] = {digits};
  const TrialAgreement after = guarded(w.trials, w.agreement, kept, vocabulary());
  for (size_t t = 0; t < after.whole.size(); ++t) {
    for (size_t p = 0; p < after.whole[t].size(); ++p) {
      EXPECT_EQ(after.whole[t][p], p % 10 == 0 ? -1.0f : 0.95f);
      EXPECT_EQ(after.listed[t][p], after.whole[t][p]);
    }
  }
}

}  // namespace
}  // namespace fathom
