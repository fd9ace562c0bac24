// fathom::attack on models that are made in memory: what it finds, what safeguards give back, and what always holds.
#include "fathom/calibrate/attack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "src/calibrate/attack_texts.h"
#include "tests/support/spare_model.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

constexpr const char* kPolicy = "exit_when(confidence_at_least=0.9, from_layer=2)";

const Model& spare() {
  static const testing::Bytes bytes = testing::spare_writer(testing::spare_language()).bytes();
  static const Model model = Model::from_bytes(bytes).value();
  return model;
}

Attack attacked(const std::string& policy, const AttackOptions& options = {.tokens = 24, .sequences = 8}) {
  return attack(spare(), {.policy = Policy::parse(policy).value()}, options).value();
}

// Made once for the tests that look at it.
const Attack& found() {
  static const Attack once = attacked(kPolicy);
  return once;
}

const AttackedFamily& family(const Attack& attack, const std::string& name) {
  for (const AttackedFamily& one : attack.families) {
    if (one.name == name) return one;
  }
  throw std::logic_error("no family " + name);
}

TEST(Attack, TheSearchFindsThreeTimesTheDisagreementOfRandomPrompts) {
  const AttackRun &random = family(found(), "random").runs[0], &search = family(found(), "search").runs[0];
  EXPECT_GT(random.share(), 0);
  EXPECT_GE(search.share(), 3 * random.share()) << "random " << random.share() << " search " << search.share();
  EXPECT_DOUBLE_EQ(found().search_over_random(), search.share() / random.share());
}

TEST(Attack, EveryFamilyRunsAsManyRowsUnderEveryPolicy) {
  const std::vector<std::string> names = {
      "random",      "repetition",     "near_copies", "garden_paths", "language_switches",
      "boilerplate", "wrong_prefixes", "search"};
  ASSERT_EQ(found().families.size(), names.size());
  for (size_t f = 0; f < names.size(); ++f) {
    const AttackedFamily& one = found().families[f];
    EXPECT_EQ(one.name, names[f]);
    ASSERT_EQ(one.runs.size(), found().policies.size());
    for (size_t p = 0; p < one.runs.size(); ++p) {
      EXPECT_EQ(one.runs[p].policy, found().policies[p]);
      EXPECT_EQ(one.runs[p].rows, 24 * 8);
      EXPECT_LE(one.runs[p].differ, one.runs[p].rows);
      EXPECT_LE(one.runs[p].differ_behind, one.runs[p].differ);
      EXPECT_EQ(one.runs[p].rows_behind, one.runs[0].rows_behind);
      EXPECT_GT(one.runs[p].rows_behind, 0) << one.name;
    }
  }
}

TEST(Attack, ASafeguardOfEveryLayerLeavesNoDisagreement) {
  const Attack guarded = attacked(kPolicy, {.tokens = 16, .sequences = 4, .safeguards = {"min_depth(layers=8)"}});
  for (const AttackedFamily& one : guarded.families) {
    EXPECT_EQ(one.runs[1].differ, 0) << one.name;
    EXPECT_EQ(one.runs[1].mean_depth, 8) << one.name;
  }
  EXPECT_TRUE(guarded.limits_hold());
}

TEST(Attack, TheUsualSafeguardsTakeBackSomeOfWhatTheSearchFinds) {
  const std::vector<AttackRun>& runs = family(found(), "search").runs;
  ASSERT_EQ(runs.size(), 1 + attack_safeguards(8).size());
  EXPECT_LT(runs[1].differ, runs[0].differ) << runs[1].policy;
  EXPECT_LT(runs[2].differ, runs[0].differ) << runs[2].policy;
  EXPECT_GT(runs[1].mean_depth, runs[0].mean_depth);
  EXPECT_GT(runs[2].mean_depth, runs[0].mean_depth);
}

TEST(Attack, OneSeedIsOneAttackAndAnotherIsAnother) {
  const AttackOptions options{.tokens = 16, .sequences = 4, .candidates = 3};
  const auto tokens = [&](uint64_t seed, int threads) {
    AttackOptions with = options;
    with.seed = seed, with.threads = threads;
    std::vector<std::vector<int32_t>> all;
    for (const AttackCase& one : attacked(kPolicy, with).worst) all.push_back(one.tokens);
    return all;
  };
  EXPECT_EQ(tokens(3, 1), tokens(3, 2));
  EXPECT_NE(tokens(3, 1), tokens(4, 1));
}

TEST(Attack, TheWorstSequencesComeFirstAndAreWhatTheySay) {
  ASSERT_FALSE(found().worst.empty());
  int64_t differ = 0;
  for (size_t i = 0; i < found().worst.size(); ++i) {
    const AttackCase& one = found().worst[i];
    EXPECT_EQ(one.tokens.size(), 24u);
    EXPECT_GT(one.differ, 0);
    EXPECT_LE(one.differ, found().worst[std::max<size_t>(i, 1) - 1].differ);
    differ += one.differ;
  }
  int64_t all = 0;
  for (const AttackedFamily& one : found().families) all += one.runs[0].differ;
  EXPECT_EQ(differ, all);
}

TEST(Attack, WhatCannotChangeATokenIsNotRun) {
  for (const char* policy : {"full_depth", "min_depth(layers=3)", "exit_at(layer=2) | kv(verify)"}) {
    const Attack none = attacked(policy);
    EXPECT_TRUE(none.lossless) << policy;
    EXPECT_TRUE(none.families.empty()) << policy;
  }
  EXPECT_FALSE(found().lossless);
}

TEST(Attack, APolicyWithItsOwnKvIsGivenNoOther) {
  const Attack own = attacked("exit_at(layer=4) | kv(settle_later, max_rows=3)", {.tokens = 16, .sequences = 2});
  EXPECT_EQ(own.policies.size(), attack_safeguards(8).size());
  EXPECT_TRUE(own.limits_hold());
}

TEST(Attack, OptionsOutOfRangeAreNamed) {
  const auto message = [&](const AttackOptions& options, const Model& model = spare()) {
    const Result<Attack> refused = attack(model, {.policy = Policy::parse(kPolicy).value()}, options);
    return refused.has_value() ? std::string() : refused.error().message;
  };
  EXPECT_NE(message({.tokens = 15}).find("tokens 15: give 16 to 511"), std::string::npos);
  EXPECT_NE(message({.tokens = 512}).find("tokens 512"), std::string::npos);
  EXPECT_NE(message({.sequences = 0}).find("sequences 0"), std::string::npos);
  EXPECT_NE(message({.candidates = 1}).find("candidates 1"), std::string::npos);
  EXPECT_NE(message({.safeguards = {"min_dept(3)"}}).find("did you mean min_depth?"), std::string::npos);
  EXPECT_NE(message({.safeguards = {"min_depth(99)"}}).find("layers=99"), std::string::npos);
  EXPECT_NE(message({}, testing::tiny_model({.tokenizer = testing::TinyVocab::none})).find("no vocabulary"),
            std::string::npos);
}

TEST(Attack, StopsWhereItIsToldTo) {
  AttackOptions options{.tokens = 16, .sequences = 2};
  int calls = 0;
  options.context = &calls;
  options.on_progress = [](void* context, std::string_view, double done) {
    EXPECT_GE(done, 0);
    EXPECT_LE(done, 1.0001);
    return ++*static_cast<int*>(context) < 30;
  };
  const Result<Attack> stopped = attack(spare(), {.policy = Policy::parse(kPolicy).value()}, options);
  ASSERT_FALSE(stopped.has_value());
  EXPECT_EQ(stopped.error().code, ErrorCode::cancelled);
  EXPECT_NE(stopped.error().message.find("the attack was stopped while"), std::string::npos);
}

TEST(AttackTexts, TheTrapStandsAtTheEndAndIsTheLastThingSaid) {
  const Tokenizer& tokenizer = spare().tokenizer();
  Random random(1);
  for (const TextFamily& one : text_families()) {
    const TemptingText text = one.make(random);
    const AttackText made = tokens_of(tokenizer, text, 400).value();
    ASSERT_EQ(made.tokens.size(), 400u) << one.name;
    const std::span<const int32_t> trap = std::span(made.tokens).subspan(size_t(made.trap));
    EXPECT_EQ(tokenizer.decode(trap), text.trap.substr(0, tokenizer.decode(trap).size())) << one.name;
    const std::string before = tokenizer.decode(std::span(made.tokens).first(size_t(made.trap)));
    EXPECT_TRUE(before.ends_with(text.lead)) << one.name << ": " << before;
  }
}

TEST(AttackTexts, ANearCopyDiffersInOneDigit) {
  Random random(5);
  for (int i = 0; i < 50; ++i) {
    const TemptingText text = text_families()[0].make(random);
    ASSERT_EQ(text.trap.size(), text.repeated.size());
    std::vector<size_t> where;
    for (size_t c = 0; c < text.trap.size(); ++c) {
      if (text.trap[c] != text.repeated[c]) where.push_back(c);
    }
    ASSERT_EQ(where.size(), 1u) << text.repeated << text.trap;
    EXPECT_TRUE(std::isdigit(text.trap[where[0]]));
  }
}

TEST(AttackTexts, ARepetitionBreaksAtItsTrapAndNowhereElse) {
  Random random(2);
  std::vector<int32_t> writing;
  for (int32_t i = 0; i < 48; ++i) writing.push_back(100 + i);
  for (int i = 0; i < 20; ++i) {
    const AttackText text = broken_repetition(writing, random);
    ASSERT_EQ(text.tokens.size(), writing.size());
    size_t unit = 1;
    while (text.tokens[unit] != text.tokens[0]) ++unit;
    for (size_t t = unit; t < text.tokens.size(); ++t) {
      if (t < size_t(text.trap) + unit) {
        EXPECT_EQ(text.tokens[t] == text.tokens[t - unit], t != size_t(text.trap)) << t << " of unit " << unit;
      }
    }
    EXPECT_GT(text.trap, 36);
  }
}

TEST(AttackTexts, ARepetitionOfOneTokenStillEnds) {
  Random random(2);
  const std::vector<int32_t> same(16, 7);
  EXPECT_EQ(broken_repetition(same, random).tokens.size(), 16u);
}

}  // namespace
}  // namespace fathom
