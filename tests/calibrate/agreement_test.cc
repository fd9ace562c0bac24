// Maps from scores to P(agrees): Platt, isotonic, the choice between them, and reliability.
#include "fathom/calibrate/agreement.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "tests/calibrate/rows.h"

namespace fathom {
namespace {

using Floats = std::vector<float>;
using Labels = Floats;  // 0 or 1, but where a test says otherwise

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

struct Sample {
  Floats scores;
  Labels agreed;

  // Scores uniform in [0, 1); each agrees with the chance that `truth` says.
  template <class Truth>
  Sample(size_t n, uint64_t seed, Truth truth) {
    Random random(seed);
    for (size_t i = 0; i < n; ++i) {
      scores.push_back(static_cast<float>(random.uniform()));
      agreed.push_back(random.uniform() < truth(scores.back()) ? 1.0f : 0.0f);
    }
  }
  ScoredRows rows() const { return {.scores = scores, .agreed = agreed}; }
};

double rising_sigmoid(double s) { return sigmoid(6 * s - 2); }
double stairs(double s) { return s < 0.3 ? 0.2 : s < 0.6 ? 0.5 : s < 0.9 ? 0.55 : 0.98; }

// Rows with few distinct scores, so that ties and violations are common.
Sample sample_of(const std::vector<std::pair<int8_t, bool>>& rows) {
  Sample sample(0, 0, rising_sigmoid);
  for (const auto& [score, agreed] : rows) {
    sample.scores.push_back(static_cast<float>(score % 16) / 4);
    sample.agreed.push_back(agreed ? 1.0f : 0.0f);
  }
  return sample;
}

void never_falls(const AgreementMap& map) {
  float last = map(-std::numeric_limits<float>::infinity());
  RC_ASSERT(last >= 0);
  for (int i = -500; i <= 500; ++i) {
    const float p = map(static_cast<float>(i) / 100);
    RC_ASSERT(p >= last);
    last = p;
  }
  RC_ASSERT(map(std::numeric_limits<float>::infinity()) >= last);
  RC_ASSERT(map(std::numeric_limits<float>::infinity()) <= 1);
  RC_ASSERT(map(std::numeric_limits<float>::quiet_NaN()) == 0);
}

TEST(Platt, RecoversAPlantedSigmoid) {
  const Sample sample(20000, 1, rising_sigmoid);
  const AgreementMap map = fit_platt(sample.scores, sample.agreed).value();
  // Information about a is n Var[s] E[p (1 - p)], at least 20000 / 12 * 0.12; about b that of an intercept far from the
  // scores' mean, 4 times more. 4 standard errors each.
  EXPECT_NEAR(map.slope, 6, 4 / std::sqrt(20000.0 / 12 * 0.12));
  EXPECT_NEAR(map.offset, -2, 4 / std::sqrt(20000.0 / 12 * 0.12));
}

TEST(Platt, ASlopeThatWouldFallIsZero) {
  const Sample sample(500, 2, [](double s) { return 1 - rising_sigmoid(s); });
  const AgreementMap map = fit_platt(sample.scores, sample.agreed).value();
  EXPECT_EQ(map.slope, 0);
  const double share = static_cast<double>(std::count(sample.agreed.begin(), sample.agreed.end(), 1)) / 500;
  EXPECT_NEAR(map(0.3f), share, 1.0 / 250) << "up to Platt's smoothing";
  EXPECT_EQ(map(0.1f), map(0.9f));
}

TEST(Platt, SeparableScoresStayUnsureByHisTargets) {
  const Floats scores = {1, 1, 1, 2, 2, 2, 2};
  const Labels agreed = {0, 0, 0, 1, 1, 1, 1};
  const AgreementMap map = fit_platt(scores, agreed).value();
  EXPECT_NEAR(map(1), 1.0 / 5, 1e-6);
  EXPECT_NEAR(map(2), 5.0 / 6, 1e-6);
  EXPECT_NEAR(fit_platt(Floats(8, 0.7f), Labels(8, 1)).value()(0.7f), 0.9, 1e-6) << "one class, one score";
}

RC_GTEST_PROP(Platt, NeverFalls, (const std::vector<std::pair<int8_t, bool>>& rows)) {
  RC_PRE(!rows.empty());
  const Sample sample = sample_of(rows);
  const AgreementMap map = fit_platt(sample.scores, sample.agreed).value();
  RC_ASSERT(map.slope >= 0);
  never_falls(map);
}

RC_GTEST_PROP(Isotonic, IsTheLargestOfTheSmallestMeans, (const std::vector<std::pair<int8_t, bool>>& rows)) {
  RC_PRE(!rows.empty());
  const Sample sample = sample_of(rows);
  const std::vector<IsotonicBlock> blocks = fit_isotonic(sample.scores, sample.agreed).value();
  std::map<float, std::pair<double, int>> counts;  // by score: agreed, rows
  for (size_t i = 0; i < sample.scores.size(); ++i) {
    counts[sample.scores[i]].first += sample.agreed[i];
    counts[sample.scores[i]].second += 1;
  }
  const std::vector<std::pair<float, std::pair<double, int>>> levels(counts.begin(), counts.end());
  size_t block = 0;
  int64_t left = blocks[0].n;
  for (size_t at = 0; at < levels.size(); ++at) {
    double most = 0;
    for (size_t from = 0; from <= at; ++from) {
      double least = 1;
      for (size_t to = at; to < levels.size(); ++to) {
        double agreed = 0, n = 0;
        for (size_t i = from; i <= to; ++i) agreed += levels[i].second.first, n += levels[i].second.second;
        least = std::min(least, agreed / n);
      }
      most = std::max(most, least);
    }
    if (left == 0) left = blocks[++block].n;
    RC_ASSERT(blocks[block].value == most);
    left -= levels[at].second.second;
  }
  RC_ASSERT(left == 0);
  RC_ASSERT(block + 1 == blocks.size());
}

RC_GTEST_PROP(Isotonic, ItsMapNeverFalls, (const std::vector<std::pair<int8_t, bool>>& rows)) {
  RC_PRE(!rows.empty());
  const Sample sample = sample_of(rows);
  const AgreementMap map = to_agreement_map(fit_isotonic(sample.scores, sample.agreed).value());
  RC_ASSERT(map.n_knots >= 1);
  never_falls(map);
  RC_ASSERT(map(9) < 1);
}

TEST(Isotonic, ManyBlocksBecomeAtMost32KnotsNearThem) {
  std::vector<IsotonicBlock> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back({.score = i / 1000.0, .value = std::pow(i / 1000.0, 2), .n = 20});
  const AgreementMap map = to_agreement_map(blocks);
  EXPECT_EQ(map.n_knots, AgreementMap::kMaxKnots);
  for (int i = 20; i < 980; ++i) {
    // A joined stretch spans about 1/32 of the values; a line through the centres of two is within one.
    EXPECT_NEAR(map(static_cast<float>(i) / 1000), std::pow(i / 1000.0, 2), 1.0 / 32) << i;
  }
}

TEST(Isotonic, AHandfulOfRowsIsNoKnot) {
  Sample sample(300, 3, rising_sigmoid);
  for (int i = 0; i < 3; ++i) sample.scores.push_back(2), sample.agreed.push_back(1);
  const AgreementMap map = to_agreement_map(fit_isotonic(sample.scores, sample.agreed).value());
  EXPECT_LT(map(2), 0.999) << "three rows that agree prove little";
}

TEST(AgreementMap, SurvivesBeingStored) {
  const Sample sample(2000, 4, stairs);
  for (const AgreementMap& map : {fit_platt(sample.scores, sample.agreed).value(),
                                  to_agreement_map(fit_isotonic(sample.scores, sample.agreed).value())}) {
    const Floats stored = map.to_floats();
    EXPECT_LE(stored.size(), 65u);
    EXPECT_EQ(AgreementMap::from_floats(stored).value(), map);
  }
}

TEST(AgreementMap, NumbersThatAreNoRisingMapAreRefused) {
  const Floats good = {2, 0.1f, 0.2f, 0.5f, 0.75f};
  EXPECT_FLOAT_EQ(AgreementMap::from_floats(good).value()(0.15f), 0.625f);
  const std::vector<Floats> bad = {{},
                                   {0, 1},
                                   {0, -1, 0},
                                   {0, NAN, 0},
                                   {2, 0.1f, 0.2f, 0.5f},
                                   {2, 0.2f, 0.1f, 0.5f, 0.6f},
                                   {2, 0.1f, 0.1f, 0.5f, 0.6f},
                                   {2, 0.1f, 0.2f, 0.6f, 0.5f},
                                   {2, 0.1f, 0.2f, 0.6f, 1.5f},
                                   {1.5f, 0.1f, 0.5f},
                                   {-1, 0.1f, 0.5f},
                                   {1e30f, 0.1f, 0.5f},
                                   {33, 0.1f, 0.5f}};
  for (const Floats& values : bad) {
    const Result<AgreementMap> map = AgreementMap::from_floats(values);
    ASSERT_FALSE(map) << ::testing::PrintToString(values);
    EXPECT_EQ(map.error().code, ErrorCode::format);
  }
}

TEST(FitAgreement, ChoosesByHeldOutLoss) {
  const Sample smooth(150, 5, rising_sigmoid), smooth_held(2000, 6, rising_sigmoid);
  EXPECT_EQ(fit_agreement(smooth.rows(), smooth_held.rows()).value().n_knots, 0) << "few rows of a sigmoid: Platt's";
  const Sample steps(5000, 7, stairs), steps_held(2000, 8, stairs);
  const AgreementMap chosen = fit_agreement(steps.rows(), steps_held.rows()).value();
  EXPECT_GT(chosen.n_knots, 0) << "stairs are no sigmoid";
  const AgreementMap platt = fit_platt(steps.scores, steps.agreed).value();
  EXPECT_LT(log_loss(chosen, steps_held.rows()), log_loss(platt, steps_held.rows()));
}

TEST(FitAgreement, IsCalibratedOnFreshRows) {
  for (double (*truth)(double) : {rising_sigmoid, stairs}) {
    const Sample training(5000, 9, truth), held_out(2000, 10, truth), fresh(20000, 11, truth);
    const AgreementMap map = fit_agreement(training.rows(), held_out.rows()).value();
    Floats p;
    for (const float score : fresh.scores) p.push_back(map(score));
    // The noise of 15 shares over these rows and over the training rows, by the formula of reliability(), and twice
    // that.
    const double noise = std::sqrt(15 / (2 * M_PI * 20000)) + std::sqrt(15 / (2 * M_PI * 5000));
    EXPECT_LT(reliability(p, fresh.agreed).value().expected_error, 2 * noise);
  }
}

TEST(Reliability, IsSmallWhereCalibratedAndLargeWhereOverconfident) {
  const Sample sample(20000, 12, [](double s) { return s; });
  const Reliability calibrated = reliability(sample.scores, sample.agreed, 10).value();
  EXPECT_LT(calibrated.expected_error, 2 * std::sqrt(10 / (2 * M_PI * 20000)));
  Floats sure;
  for (const float s : sample.scores) sure.push_back(s < 0.5f ? 0.01f : 0.99f);
  // Mean |p - s| with s uniform: halves whose shares are 1/4 and 3/4.
  EXPECT_NEAR(reliability(sure, sample.agreed, 10).value().expected_error, 0.24, 0.02);
  ASSERT_EQ(calibrated.bins.size(), 10u);
  int64_t n = 0;
  for (size_t b = 0; b < 10; ++b) {
    const ReliabilityBin& bin = calibrated.bins[b];
    EXPECT_NEAR(bin.probability, (static_cast<double>(b) + 0.5) / 10, 0.005);
    EXPECT_NEAR(bin.agreed, bin.probability, 4 * 0.5 / std::sqrt(static_cast<double>(bin.n)));
    n += bin.n;
  }
  EXPECT_EQ(n, 20000);
}

TEST(Reliability, TheEndsBelongToTheOuterBins) {
  const Reliability result = reliability(Floats{0, 1}, Labels{0, 1}, 4).value();
  EXPECT_EQ(result.bins[0].n, 1);
  EXPECT_EQ(result.bins[3].n, 1);
  EXPECT_TRUE(std::isnan(result.bins[1].agreed));
  EXPECT_DOUBLE_EQ(result.bins[1].probability, 0.375);
  EXPECT_EQ(result.expected_error, 0);
}

TEST(Agreement, NamesWhatItRefuses) {
  const Labels labels = {0, 1, 1};
  EXPECT_EQ(fit_platt(Floats{0, 1, NAN}, labels).error().message,
            "scores: row 2, column 0 is nan: leave out rows that are not finite");
  EXPECT_FALSE(fit_isotonic(Floats{0, INFINITY, 1}, labels));
  EXPECT_FALSE(fit_platt({}, {}));
  EXPECT_FALSE(fit_isotonic({}, {}));
  EXPECT_EQ(fit_platt(Floats{0, 1}, labels).error().code, ErrorCode::shape);
  EXPECT_EQ(fit_platt(Floats{0, 1, 2}, Labels{0, 3, 1}).error().message, "agreed: row 1 is 3: shares are in [0, 1]");
  EXPECT_EQ(reliability(Floats{0, 1.5f, 1}, labels).error().message, "p: row 1 is 1.5: probabilities are in [0, 1]");
  EXPECT_FALSE(reliability(Floats{0, 0.5f, 1}, labels, 0));
}

}  // namespace
}  // namespace fathom
