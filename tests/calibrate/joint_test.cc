// One setting for all groups, settings of groups' own and several levels, from the same pieces: all hold together.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "fathom/calibrate/recalibration.h"
#include "fathom/calibrate/selection.h"

namespace fathom {
namespace {

constexpr int32_t kGroups = 3, kCandidates = 3;
constexpr size_t kPieces = 400;
constexpr double kConfidence = 0.9;
// Bad by little, so that each claim is broken about as often as it may be.
constexpr double kTruth[kCandidates] = {0.004, 0.0203, 0.0503};

// Pieces that lose everything or nothing. All candidates of a draw see the same pieces, as thresholds do.
LossTable draw(std::mt19937_64& random, const std::vector<std::string>& groups) {
  std::uniform_real_distribution<double> place;
  LossTable table{.groups = groups, .losses = {}};
  table.losses.assign(kCandidates, std::vector<std::vector<float>>(groups.size()));
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < kPieces; ++i) {
      const double u = place(random);
      for (size_t c = 0; c < kCandidates; ++c) table.losses[c][g].push_back(u < kTruth[c] ? 1.0f : 0.0f);
    }
  }
  return table;
}

bool broken(const std::vector<Choice>& choices) {
  for (const Choice& choice : choices) {
    if (choice.certified() && kTruth[choice.candidate] > choice.risk) return true;
  }
  return false;
}

TEST(JointCertificates, HalvesForAllAndForEachHoldTogetherAtEveryLevel) {
  constexpr int32_t kRuns = 1500;
  const CertifyOptions half{.risks = {0.02, 0.05}, .confidence = 1 - (1 - kConfidence) / 2, .bound = Bound::binomial};
  std::mt19937_64 random(17);
  int32_t n_broken = 0, n_certified = 0;
  for (int32_t run = 0; run < kRuns; ++run) {
    const LossTable table = draw(random, {"a", "b", "c"});
    const auto all = certify_for_all(table, half).value(), each = certify_each(table, half).value();
    n_broken += broken(all) || broken(each);
    n_certified += all[0].certified();
  }
  EXPECT_LE(n_broken, allowed_failures(kRuns, 1 - kConfidence));
  EXPECT_GT(n_broken, kRuns / 200) << "the candidates are no test of it";
  EXPECT_GT(n_certified, kRuns / 3);
}

// What the sharing is for.
TEST(JointCertificates, WholeConfidencesForEachClaimDoNotHoldTogether) {
  constexpr int32_t kRuns = 1500;
  const CertifyOptions whole{.risks = {0.02}, .confidence = kConfidence, .bound = Bound::binomial};
  std::mt19937_64 random(17);
  int32_t n_broken = 0;
  for (int32_t run = 0; run < kRuns; ++run) {
    bool any = false;
    for (int32_t claim = 0; claim < kGroups; ++claim) {
      any |= broken(certify_for_all(draw(random, {"a"}), whole).value());
    }
    n_broken += any;
  }
  EXPECT_GT(n_broken, allowed_failures(kRuns, 1 - kConfidence));
}

}  // namespace
}  // namespace fathom
