// Temperatures from a grid against those of the whole logits. Next: tests/calibrate/logistic_test.cc.
#include "fathom/calibrate/temperature.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/calibrate/rows.h"

namespace fathom {
namespace {

using Floats = std::vector<float>;

constexpr size_t kVocab = 64;
constexpr size_t kGrid = kTemperatureBetas.size();

enum class Shape { normal, heavy_tails, one_dominates };

// Logits whose token is drawn at temperature `planted`, and what a collector would keep of them.
struct Rows {
  std::vector<double> logits;  // [n, vocab]
  Floats target, lse;

  Rows(size_t n, double planted, Shape shape, uint64_t seed) {
    Random random(seed);
    for (size_t row = 0; row < n; ++row) {
      const double lead = 4 + 10 * random.uniform();
      for (size_t v = 0; v < kVocab; ++v) {
        const double z = random.normal();
        logits.push_back(shape == Shape::normal        ? 3 * z
                         : shape == Shape::heavy_tails ? z * (1 + z * z)
                                                       : 2 * z + (v == row % kVocab ? lead : 0));
      }
      const double* own = &logits[row * kVocab];
      double left = random.uniform() * std::exp(log_sum(own, 1 / planted));
      size_t token = 0;
      while (token + 1 < kVocab && (left -= std::exp(own[token] / planted)) > 0) ++token;
      target.push_back(static_cast<float>(own[token]));
      for (const float beta : kTemperatureBetas) lse.push_back(static_cast<float>(log_sum(own, beta)));
    }
  }

  static double log_sum(const double* logits, double beta) {
    const double most = *std::max_element(logits, logits + kVocab);
    double sum = 0;
    for (size_t v = 0; v < kVocab; ++v) sum += std::exp(beta * (logits[v] - most));
    return beta * most + std::log(sum);
  }

  double nll(double temperature) const {
    double sum = 0;
    for (size_t row = 0; row < target.size(); ++row) {
      sum += log_sum(&logits[row * kVocab], 1 / temperature) - target[row] / temperature;
    }
    return sum / static_cast<double>(target.size());
  }

  // By golden section; the loss is convex in 1 / T.
  double best() const {
    double low = 0.25, high = 4;
    const double golden = (std::sqrt(5.0) - 1) / 2;
    while (high - low > 1e-4) {
      const double a = high - golden * (high - low), b = low + golden * (high - low);
      (nll(1 / a) < nll(1 / b) ? high : low) = nll(1 / a) < nll(1 / b) ? b : a;
    }
    return 2 / (low + high);
  }
};

TEST(FitTemperatures, TheGridLosesLittleAgainstWholeLogits) {
  for (const Shape shape : {Shape::normal, Shape::heavy_tails, Shape::one_dominates}) {
    for (const double planted : {0.45, 0.83, 1.2, 1.7, 3.3}) {
      const Rows rows(400, planted, shape, 7);
      const TemperatureFit fit = fit_temperatures({.target = rows.target, .lse = rows.lse}).value()[0];
      const double best = rows.best();
      EXPECT_NEAR(fit.temperature / best, 1, 0.02) << static_cast<int>(shape) << " planted " << planted;
      EXPECT_NEAR(fit.nll_after, rows.nll(fit.temperature), 0.002) << static_cast<int>(shape) << " planted " << planted;
      EXPECT_NEAR(fit.nll_before, rows.nll(1), 1e-5);
      EXPECT_LE(fit.nll_after, fit.nll_before);
      EXPECT_FALSE(fit.at_edge);
    }
  }
}

TEST(FitTemperatures, RecoversAPlantedTemperatureInEachCell) {
  const Rows hot(4000, 1.6, Shape::normal, 11), cold(4000, 0.7, Shape::normal, 12);
  Floats target, lse;
  std::vector<int32_t> cell;
  for (size_t row = 0; row < 4000; ++row) {  // interleaved
    for (const Rows* rows : {&hot, &cold}) {
      target.push_back(rows->target[row]);
      lse.insert(lse.end(), rows->lse.begin() + static_cast<std::ptrdiff_t>(row * kGrid),
                 rows->lse.begin() + static_cast<std::ptrdiff_t>((row + 1) * kGrid));
      cell.push_back(rows == &hot ? 0 : 2);
    }
  }
  const auto fits = fit_temperatures({.target = target, .lse = lse, .cell = cell}, 3).value();
  ASSERT_EQ(fits.size(), 3u);
  // The standard error of beta is 1 / sqrt(n Var[logit]) with a variance of at least 1 under p: 4 of them, and 2 % of
  // grid.
  const double tolerance = 4 / std::sqrt(4000.0) + 0.02;
  EXPECT_NEAR(fits[0].temperature / 1.6, 1, 1.6 * tolerance);
  EXPECT_NEAR(fits[2].temperature / 0.7, 1, 0.7 * tolerance);
  EXPECT_EQ(fits[0].n, 4000);
  EXPECT_EQ(fits[1].n, 0);
  EXPECT_EQ(fits[1].temperature, 1) << "a cell without rows changes nothing";
  EXPECT_TRUE(std::isnan(fits[1].nll_before));
}

TEST(FitTemperatures, SaysWhenTheBestLiesBeyondTheGrid) {
  const Rows rows(500, 8, Shape::normal, 13);
  const TemperatureFit fit = fit_temperatures({.target = rows.target, .lse = rows.lse}).value()[0];
  EXPECT_TRUE(fit.at_edge);
  EXPECT_FLOAT_EQ(fit.temperature, 4);
}

TEST(FitTemperatures, KeepsOneWhereNoTemperatureIsBetter) {
  // Every token is certain: log-sum-exp is the target's own term.
  Floats lse;
  for (const float beta : kTemperatureBetas) lse.push_back(beta * 64);
  const TemperatureFit fit =
      fit_temperatures({.betas = kTemperatureBetas, .target = Floats{64}, .lse = lse}).value()[0];
  EXPECT_EQ(fit.temperature, 1);
}

TEST(FitTemperatures, NamesWhatItRefuses) {
  const Floats target(3, 1.0f);
  Floats lse(3 * kGrid, 9.0f);
  EXPECT_TRUE(fit_temperatures({.target = target, .lse = lse}));
  lse[kGrid + 4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(fit_temperatures({.target = target, .lse = lse}).error().message,
            "lse: row 1, column 4 is nan: leave out rows that are not finite");
  lse[kGrid + 4] = 0.5f;
  EXPECT_NE(fit_temperatures({.target = target, .lse = lse}).error().message.find("row 1, column 4 is 0.5"),
            std::string::npos);
  lse[kGrid + 4] = 9;
  const std::vector<int32_t> cell = {0, 1, 0};
  EXPECT_EQ(fit_temperatures({.target = target, .lse = lse, .cell = cell}).error().message,
            "cell: row 1 is in 1 of 1: raise n_cells");
  EXPECT_EQ(fit_temperatures({.target = target, .lse = target}).error().code, ErrorCode::shape);
  const Floats falling = {1, 0.5f, 2, 3}, above = {2, 3, 4, 5}, few = {0.5f, 1, 2};
  for (const Floats& betas : {falling, above, few}) {
    EXPECT_FALSE(fit_temperatures({.betas = betas, .target = target, .lse = Floats(3 * betas.size(), 99.0f)}));
  }
}

}  // namespace
}  // namespace fathom
