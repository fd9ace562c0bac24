// Logistic regression and AUC. Next: tests/calibrate/agreement_test.cc.
#include "fathom/calibrate/logistic.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/calibrate/rows.h"

namespace fathom {
namespace {

using testing::normal_values;
using Floats = std::vector<float>;
using Labels = std::vector<uint8_t>;

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

struct Planted {
  static constexpr size_t kFeatures = 3;
  Floats features;
  Labels labels;

  // Features of very different units; standardised, the weights are 1.5, -2 and 0.
  Planted(size_t n, uint64_t seed) : features(normal_values(n * kFeatures, seed)) {
    Random random(seed + 1);
    for (size_t row = 0; row < features.size(); row += kFeatures) {
      const double z = 1.5 * features[row] - 2.0 * features[row + 1] + 0.5;
      labels.push_back(random.uniform() < sigmoid(z));
      features[row] = features[row] * 1000 + 300;
      features[row + 1] = features[row + 1] * 0.01f - 0.2f;
    }
  }
};

// Of mean log loss + l2 / 2 |w|^2 over standardised features, in double; the bias last.
std::vector<double> gradient(const Floats& features, const Labels& labels, const LogisticFit& fit, double l2) {
  const size_t f = fit.weights.size(), n = labels.size();
  std::vector<double> mean(f), deviation(f), g(f + 1);
  for (size_t i = 0; i < features.size(); ++i) mean[i % f] += features[i] / static_cast<double>(n);
  for (size_t i = 0; i < features.size(); ++i) deviation[i % f] += std::pow(features[i] - mean[i % f], 2);
  for (double& d : deviation) d = std::sqrt(d / static_cast<double>(n));
  for (size_t row = 0; row < n; ++row) {
    double z = fit.bias;
    for (size_t j = 0; j < f; ++j) z += double{fit.weights[j]} * features[row * f + j];
    const double miss = (sigmoid(z) - labels[row]) / static_cast<double>(n);
    for (size_t j = 0; j < f; ++j) g[j] += miss * (features[row * f + j] - mean[j]) / deviation[j];
    g[f] += miss;
  }
  for (size_t j = 0; j < f; ++j) g[j] += l2 * fit.weights[j] * deviation[j];
  return g;
}

TEST(FitLogistic, RecoversPlantedWeightsInRawUnits) {
  const Planted rows(20000, 1);
  const LogisticFit fit = fit_logistic(rows.features, rows.labels, {.l2 = 1e-6f}).value();
  // The information per row is at least E[p (1 - p)] times a feature's share, about 0.07 here: 4 standard errors.
  const double tolerance = 4 / std::sqrt(0.07 * 20000);
  EXPECT_NEAR(fit.weights[0] * 1000, 1.5, tolerance);
  EXPECT_NEAR(fit.weights[1] * 0.01, -2, tolerance);
  EXPECT_NEAR(fit.weights[2], 0, tolerance);
  EXPECT_NEAR(fit.bias + fit.weights[0] * 300 - fit.weights[1] * 0.2, 0.5, tolerance);
  EXPECT_LT(fit.steps, 20);
}

TEST(FitLogistic, TheGradientVanishesAtTheOptimum) {
  const Planted rows(2000, 2);
  for (const float l2 : {1e-5f, 1e-2f, 1.0f}) {
    const LogisticFit fit = fit_logistic(rows.features, rows.labels, {.l2 = l2}).value();
    // 1e-9 as promised, and what rounding weights and a bias of about 40 to f32 moves z by.
    for (const double g : gradient(rows.features, rows.labels, fit, l2)) EXPECT_NEAR(g, 0, 1e-9 + 42 * 0x1p-24);
  }
}

TEST(FitLogistic, SeparableLabelsGiveFiniteWeights) {
  Floats features;
  Labels labels;
  for (int i = -50; i < 50; ++i) features.push_back(static_cast<float>(i) + 0.5f), labels.push_back(i >= 0);
  double last = 0;
  for (const float l2 : {1e-1f, 1e-4f, 1e-7f}) {
    const LogisticFit fit = fit_logistic(features, labels, {.l2 = l2}).value();
    EXPECT_TRUE(std::isfinite(fit.weights[0]));
    EXPECT_GT(fit.weights[0], last) << "a smaller penalty allows a larger weight";
    last = fit.weights[0];
  }
  EXPECT_DOUBLE_EQ(auc(features, labels).value(), 1);
}

TEST(FitLogistic, AConstantFeatureHasNoWeight) {
  const Planted rows(500, 3);
  Floats features;
  for (size_t i = 0; i < rows.labels.size(); ++i) {
    features.insert(features.end(), {rows.features[3 * i], 0.1f, rows.features[3 * i + 1]});
  }
  const LogisticFit fit = fit_logistic(features, rows.labels).value();
  EXPECT_EQ(fit.weights[1], 0);
  EXPECT_NE(fit.weights[0], 0);
  const LogisticFit none = fit_logistic(Floats(rows.labels.size(), 7.0f), rows.labels).value();
  EXPECT_EQ(none.weights[0], 0);
  const double share = static_cast<double>(std::count(rows.labels.begin(), rows.labels.end(), 1)) / 500;
  EXPECT_NEAR(none(Floats{7}), share, 1e-6);
}

TEST(FitLogistic, OneClassAloneIsNearlyButNotQuiteSure) {
  const Floats features = normal_values(98, 4);
  const LogisticFit fit = fit_logistic(features, Labels(98, 1)).value();
  EXPECT_EQ(fit.weights[0], 0);
  EXPECT_NEAR(fit(Floats{3}), 0.99, 1e-6);
  EXPECT_NEAR(fit_logistic(features, Labels(98, 0)).value()(Floats{3}), 0.01, 1e-6);
}

TEST(FitLogistic, NamesWhatItRefuses) {
  Floats features(12, 1.0f);
  Labels labels = {0, 1, 1, 0};
  features[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(fit_logistic(features, labels).error().message,
            "features: row 2, column 1 is nan: leave out rows that are not finite");
  features[7] = 1;
  EXPECT_FALSE(fit_logistic(features, labels, {.l2 = 0}));
  EXPECT_EQ(fit_logistic(std::span(features).first(11), labels).error().code, ErrorCode::shape);
  EXPECT_FALSE(fit_logistic({}, {}));
  labels[3] = 2;
  EXPECT_EQ(fit_logistic(features, labels).error().message, "labels: row 3 is 2: labels are 0 or 1");
}

RC_GTEST_PROP(Auc, IsTheShareOfPairsInOrder, (const std::vector<std::pair<bool, uint8_t>>& rows)) {
  Floats scores;
  Labels labels;
  for (const auto& [label, score] : rows) {  // few distinct scores, so that ties are common
    scores.push_back(static_cast<float>(score % 8) - 4);
    labels.push_back(label);
  }
  double wins = 0, pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < scores.size(); ++j) {
      if (labels[i] != 1 || labels[j] != 0) continue;
      pairs += 1;
      wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
    }
  }
  const double got = auc(scores, labels).value();
  if (pairs == 0) {
    RC_ASSERT(std::isnan(got));
  } else {
    RC_ASSERT(got == wins / pairs);
  }
}

TEST(Auc, InfinitiesHaveAPlaceAndNanHasNone) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_DOUBLE_EQ(auc(Floats{-inf, 0, inf}, Labels{0, 0, 1}).value(), 1);
  EXPECT_EQ(auc(Floats{0, NAN}, Labels{0, 1}).error().message, "scores: row 1 is nan: leave it out");
  EXPECT_EQ(auc(Floats{0, 1}, Labels{0}).error().code, ErrorCode::shape);
}

}  // namespace
}  // namespace fathom
