// Which candidate is certified, at which share of delta, and what a report is told. Next: recalibration_test.cc.
#include "fathom/calibrate/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace fathom {
namespace {

// n losses, the first `errors` of them 1.
std::vector<float> pieces(size_t n, size_t errors) {
  std::vector<float> losses(n, 0.0f);
  std::fill_n(losses.begin(), errors, 1.0f);
  return losses;
}

// errors[candidate][group] of 600 pieces each.
LossTable table_of_errors(const std::vector<std::vector<size_t>>& errors) {
  LossTable table;
  for (size_t g = 0; g < errors[0].size(); ++g) table.groups.push_back("group " + std::to_string(g));
  for (const std::vector<size_t>& of_candidate : errors) {
    table.losses.emplace_back();
    for (const size_t n : of_candidate) table.losses.back().push_back(pieces(600, n));
  }
  return table;
}

constexpr Bound kExact = Bound::binomial;  // 600 pieces allow 6 errors at .05, 5 at .025, 4 at .0125, 4 at .00833

TEST(CertifyForAll, ChoosesTheLastCandidateThatPassesInEveryGroup) {
  const LossTable table = table_of_errors({{0, 0}, {2, 4}, {6, 6}, {6, 7}, {9, 9}});
  const auto choices = certify_for_all(table, {.bound = kExact}).value();
  ASSERT_EQ(choices.size(), 1u);
  EXPECT_EQ(choices[0].candidate, 2);
  EXPECT_EQ(choices[0].group, -1);
  EXPECT_NEAR(choices[0].delta, 0.05, 1e-12) << "each group at the whole delta";
}

TEST(CertifyForAll, StopsAtTheFirstThatDoesNotPass) {
  const LossTable table = table_of_errors({{0}, {7}, {0}});
  EXPECT_EQ(certify_for_all(table, {.bound = kExact}).value()[0].candidate, 0)
      << "the third would pass, but is not asked";
}

TEST(CertifyForAll, CertifiesNothingWhereTheSafestDoesNotPass) {
  const auto choice = certify_for_all(table_of_errors({{0, 9}, {0, 0}}), {.bound = kExact}).value()[0];
  EXPECT_FALSE(choice.certified());
  EXPECT_EQ(choice.candidate, -1);
  EXPECT_TRUE(choice.passed.empty());
  ASSERT_EQ(choice.refused.size(), 2u);
  EXPECT_EQ(choice.refused[1].group, 1);
  EXPECT_GT(choice.refused[1].upper, 0.02);
}

TEST(CertifyForAll, SharesDeltaAmongTheLevels) {
  const LossTable table = table_of_errors({{0}, {6}, {14}});
  const auto choices = certify_for_all(table, {.risks = {0.02, 0.05}, .bound = kExact}).value();
  ASSERT_EQ(choices.size(), 2u);
  EXPECT_NEAR(choices[0].delta, 0.025, 1e-12);
  EXPECT_EQ(choices[0].candidate, 0) << "6 errors pass 2 % at .05 but not at .025";
  EXPECT_EQ(choices[1].candidate, 2);
  EXPECT_EQ(choices[1].risk, 0.05);
}

TEST(CertifyForAll, TellsWhatAReportShows) {
  const LossTable table = table_of_errors({{3, 0}, {7, 1}});
  const Choice choice = certify_for_all(table, {.bound = kExact}).value()[0];
  ASSERT_EQ(choice.passed.size(), 2u);
  const GroupBound& first = choice.passed[0];
  EXPECT_EQ(first.n, 600);
  EXPECT_DOUBLE_EQ(first.mean, 3.0 / 600);
  EXPECT_DOUBLE_EQ(first.upper, binomial_upper(3, 600, choice.delta));
  EXPECT_DOUBLE_EQ(first.p_value, binomial_p_value(3, 600, 0.02));
  ASSERT_EQ(choice.refused.size(), 2u);
  EXPECT_GT(choice.refused[0].p_value, choice.delta);
  EXPECT_LE(choice.refused[1].p_value, choice.delta);
}

TEST(CertifyForAll, SaysHowManyPiecesAreMissing) {
  LossTable table = {{"a", "b"}, {{pieces(100, 0), pieces(300, 0)}}};
  const Choice choice = certify_for_all(table).value()[0];
  ASSERT_FALSE(choice.certified());
  EXPECT_EQ(choice.refused[0].needed, 172);  // by betting, which is what certifies
  EXPECT_EQ(choice.refused[0].missing(), 72);
  EXPECT_EQ(choice.refused[1].missing(), 0);
}

TEST(CertifyForAll, SaysNoNumberWhereMorePiecesWouldNotHelp) {
  const Choice choice = certify_for_all(table_of_errors({{30}})).value()[0];
  EXPECT_EQ(choice.refused[0].needed, kNoPiecesSuffice);
  EXPECT_EQ(choice.refused[0].missing(), 0);
}

TEST(CertifyEach, GivesEachGroupItsOwnAtItsShareOfDelta) {
  const LossTable table = table_of_errors({{0, 0, 9}, {4, 0, 0}, {6, 3, 0}, {9, 5, 0}});
  const auto choices = certify_each(table, {.bound = kExact}).value();
  ASSERT_EQ(choices.size(), 3u);
  const int32_t want[] = {1, 2, -1};
  for (int32_t g = 0; g < 3; ++g) {
    const Choice& choice = choices[static_cast<size_t>(g)];
    EXPECT_EQ(choice.group, g);
    EXPECT_EQ(choice.candidate, want[g]) << "group " << g;
    EXPECT_NEAR(choice.delta, 0.05 / 3, 1e-12);
    ASSERT_EQ(choice.refused.size(), 1u);
    EXPECT_EQ(choice.refused[0].group, g);
  }
}

TEST(CertifyEach, SharesDeltaAmongLevelsAndGroups) {
  const auto choices = certify_each(table_of_errors({{0, 0}, {4, 4}}), {.risks = {0.02, 0.05, 0.1}}).value();
  ASSERT_EQ(choices.size(), 6u);
  EXPECT_NEAR(choices[5].delta, 0.05 / 6, 1e-12);
  EXPECT_EQ(choices[3].group, 1) << "the groups of one level stand together";
  EXPECT_EQ(choices[3].risk, 0.05);
}

TEST(Certify, AGroupWithoutPiecesIsNeverCertified) {
  LossTable table = {{"full", "empty"}, {{pieces(600, 0), {}}, {pieces(600, 1), {}}}};
  const Choice choice = certify_for_all(table).value()[0];
  EXPECT_FALSE(choice.certified());
  EXPECT_EQ(choice.refused[1].n, 0);
  EXPECT_EQ(choice.refused[1].mean, 0);
  EXPECT_EQ(choice.refused[1].upper, 1);
  EXPECT_EQ(choice.refused[1].missing(), 172);
  const auto each = certify_each(table).value();
  EXPECT_EQ(each[0].candidate, 1);
  EXPECT_EQ(each[1].candidate, -1);
}

TEST(Certify, NoCandidatesAreNoChoice) {
  const Choice choice = certify_for_all({.groups = {"a"}, .losses = {}}).value()[0];
  EXPECT_FALSE(choice.certified());
  EXPECT_TRUE(choice.passed.empty() && choice.refused.empty());
}

TEST(Certify, RefusesLossesThatAreNone) {
  LossTable table = table_of_errors({{0, 0}, {0, 0}});
  table.losses[1][1][17] = std::nanf("");
  for (const auto& result : {certify_for_all(table), certify_each(table)}) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "candidate 1, group group 1: loss nan of piece 17: losses lie in [0, 1]");
  }
}

TEST(Certify, RefusesTablesThatDoNotFit) {
  LossTable table = table_of_errors({{0, 0}, {0, 0}});
  table.losses[1][0].pop_back();
  EXPECT_EQ(certify_for_all(table).error().code, ErrorCode::shape);
  table.losses[1].clear();
  EXPECT_EQ(certify_each(table).error().code, ErrorCode::shape);
  EXPECT_EQ(certify_for_all({}).error().code, ErrorCode::argument);
}

TEST(Certify, RefusesOptionsOutOfRange) {
  const LossTable table = table_of_errors({{0}});
  for (const double bad : {0.0, 1.0, -1.0, std::nan("")}) {
    EXPECT_FALSE(certify_for_all(table, {.risks = {bad}})) << bad;
    EXPECT_FALSE(certify_each(table, {.confidence = bad})) << bad;
  }
  EXPECT_FALSE(certify_for_all(table, {.risks = {}}));
  const int32_t outside = 1;
  EXPECT_FALSE(last_certified(table, {&outside, 1}, 0.02, 0.05, kExact));
  EXPECT_FALSE(last_certified(table, {}, 0.02, 0.05, kExact));
}

}  // namespace
}  // namespace fathom
