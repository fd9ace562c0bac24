// Limits that give rows back their depth by what is known of their text, and the setting that settles in turn.
#include <gtest/gtest.h>

#include "fathom/policy/policy.h"

namespace fathom {
namespace {

Step at(int32_t layer, Signal signal, float value, RowKind kind = RowKind::generated) {
  Step step;
  step.layer = layer;
  step.n_layers = 12;
  step.kind = kind;
  step.signals[static_cast<int>(signal)] = value;
  return step;
}

Verdict says(const Policy& policy, const Step& step) {
  Decision decision;
  policy.ref().table->decide(policy.ref().self, &step, &decision, 1);
  return decision.verdict;
}

Policy parsed(const char* text) { return Policy::parse(text).value(); }

TEST(FullDepthAt, RowsOfItsClassRunAndOthersLeave) {
  const Policy policy = parsed("exit_at(3) | full_depth_at(delimiters)");
  for (int c = 0; c < kTokenClasses; ++c) {
    const bool its = static_cast<TokenClass>(c) == TokenClass::delimiters;
    EXPECT_EQ(says(policy, at(5, Signal::token_class, float(c))), its ? Verdict::run : Verdict::exit)
        << kTokenClassNames[c];
  }
}

TEST(FullDepthAt, ARowOfUnknownClassRuns) {
  const Policy policy = parsed("exit_at(3) | full_depth_at(digits)");
  EXPECT_EQ(says(policy, at(5, Signal::last_entropy, 1)), Verdict::run);
}

TEST(FullDepthAt, HoldsForPromptRowsAndIsNoSaving) {
  EXPECT_EQ(
      says(parsed("exit_at(layer=3, on=all) | full_depth_at(digits)"), at(5, Signal::token_class, 0, RowKind::prompt)),
      Verdict::run);
  EXPECT_TRUE(parsed("full_depth_at(digits)").is_full_depth());
  EXPECT_FALSE(parsed("exit_at(3) | full_depth_at(digits)").is_sequential());
}

TEST(FullDepthAt, SeveralClassesAreSeveralLimits) {
  const Policy policy = parsed("exit_at(3) | full_depth_at(digits) | full_depth_at(spaces)");
  EXPECT_EQ(policy.text(), "exit_at(layer=3) | full_depth_at(digits) | full_depth_at(spaces)");
  EXPECT_EQ(says(policy, at(5, Signal::token_class, float(TokenClass::digits))), Verdict::run);
  EXPECT_EQ(says(policy, at(5, Signal::token_class, float(TokenClass::spaces))), Verdict::run);
  EXPECT_EQ(says(policy, at(5, Signal::token_class, float(TokenClass::other))), Verdict::exit);
}

TEST(FullDepthAfter, ARunOfLowMarginsRestoresAndOneHighOneDoesNot) {
  const Policy policy = exit_at{.layer = 3} | full_depth_after{.low_margin = 0.25f, .rows = 3};
  EXPECT_EQ(policy.text(), "exit_at(layer=3) | full_depth_after(low_margin=0.25, rows=3)");
  EXPECT_EQ(says(policy, at(5, Signal::last_margin_3, 0.2f)), Verdict::run);
  EXPECT_EQ(says(policy, at(5, Signal::last_margin_3, 0.25f)), Verdict::exit);
  EXPECT_EQ(says(policy, at(5, Signal::last_margin_2, 0.9f)), Verdict::run) << "fewer predictions than three";
  EXPECT_TRUE(policy.is_sequential());
  EXPECT_TRUE(parsed("full_depth_after(0.5)").is_full_depth());
}

TEST(FullDepthAfter, ReadsOneSignalOfGeneratedRowsAlone) {
  const full_depth_after stage{.low_margin = 0.25f, .rows = 4};
  EXPECT_EQ(stage.reads_at(0, 12, RowKind::generated), SignalSet(Signal::last_margin_4));
  EXPECT_TRUE(stage.reads_at(3, 12, RowKind::prompt).empty());
}

TEST(Safeguards, WrongTextsAreNamed) {
  const auto fault = [](const char* text) { return Policy::parse(text).error().message; };
  EXPECT_NE(fault("full_depth_at(vowels)").find("digits|delimiters|punctuation|word_begins"), std::string::npos);
  EXPECT_NE(fault("full_depth_at()").find("lacks tokens"), std::string::npos);
  EXPECT_NE(fault("full_depth_after(low_margin=2)").find("0..1"), std::string::npos);
  EXPECT_NE(fault("full_depth_after(0.5, rows=5)").find("1..4"), std::string::npos);
  EXPECT_NE(fault("settle_every(65)").find("1..64"), std::string::npos);
  for (const char* both : {"settle_every(8) | kv(fill)", "exit_at(2) | kv(verify) | settle_every(8)"}) {
    EXPECT_NE(fault(both).find("kv beside settle_every"), std::string::npos) << both;
  }
  EXPECT_FALSE(Policy(settle_every{.tokens = 8} | kv{}).check(12).has_value());
}

TEST(SettleEvery, IsASettingThatWantsRowsOneByOne) {
  const Policy policy = parsed("exit_at(2) | settle_every(16)");
  EXPECT_EQ(policy.text(), "exit_at(layer=2) | settle_every(tokens=16)");
  EXPECT_TRUE(policy.is_sequential());
  EXPECT_TRUE(policy.settings().settle_in_turn);
  EXPECT_EQ(policy.settings().kv_max_rows, 16);
}

TEST(WordExit, saves_reads_back_and_stands_beside_no_limit) {
  const Policy policy = parsed("word_exit(agreement_at_least=0.9) | exit_when(agreement_at_least=0.9)");
  EXPECT_FALSE(policy.is_full_depth());
  EXPECT_EQ(Policy::parse(policy.text()).value(), policy);
  EXPECT_TRUE(policy.settings().exits_by_words);
  EXPECT_FLOAT_EQ(policy.settings().word_agreement, 0.9f);
  EXPECT_FALSE(Policy::parse("word_exit(0.9) | min_depth(3)"));
  EXPECT_FALSE(Policy::parse("word_exit(2)"));
}

}  // namespace
}  // namespace fathom
