// Limits of mean losses: facts that can be looked up, and simulations of what they promise. Next: selection_test.cc.
#include "fathom/calibrate/bound.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "fathom/calibrate/recalibration.h"

namespace fathom {
namespace {

using Random = std::mt19937_64;
constexpr Bound kMeanBounds[] = {Bound::betting, Bound::hoeffding_bentkus};

double uniform(Random& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

// P(Bin(n, p) <= k), added up.
double tail(int k, int n, double p) {
  double sum = 0;
  for (int i = 0; i <= k; ++i) {
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(i + 1) - std::lgamma(n - i + 1) + i * std::log(p) +
                    (n - i) * std::log1p(-p));
  }
  return sum;
}

TEST(BinomialBound, ZeroErrorsNeed149PiecesForTwoPercent) {
  EXPECT_LE(binomial_upper(0, 149, 0.05), 0.02);
  EXPECT_GT(binomial_upper(0, 148, 0.05), 0.02);
  EXPECT_LE(binomial_upper(0, 217, 0.05 / 4), 0.02);
  EXPECT_GT(binomial_upper(0, 216, 0.05 / 4), 0.02);
}

TEST(BinomialBound, SixHundredPiecesAllowSixErrorsAndFourAtAQuarterOfDelta) {
  EXPECT_LE(binomial_p_value(6, 600, 0.02), 0.05);
  EXPECT_GT(binomial_p_value(7, 600, 0.02), 0.05);
  EXPECT_LE(binomial_p_value(4, 600, 0.02), 0.05 / 4);
  EXPECT_GT(binomial_p_value(5, 600, 0.02), 0.05 / 4);
}

TEST(BinomialBound, IsTheTailAndItsInverse) {
  for (const int n : {1, 7, 149, 600}) {
    for (const int k : {0, 1, 3, 6}) {
      if (k >= n) continue;
      for (const double risk : {0.001, 0.02, 0.3, 0.9}) {
        const double want = tail(k, n, risk);
        EXPECT_NEAR(binomial_p_value(k, n, risk), want, 1e-9 * want + 1e-300) << k << " of " << n << " at " << risk;
      }
      for (const double delta : {0.0125, 0.05, 0.5}) {
        EXPECT_NEAR(tail(k, n, binomial_upper(k, n, delta)), delta, 1e-9) << k << " of " << n;
      }
    }
  }
}

TEST(BinomialBound, WhatProvesNothingIsOne) {
  for (const double bad : {0.0, 1.0, -0.1, 1.5, std::nan("")}) {
    EXPECT_EQ(binomial_p_value(0, 10, bad), 1) << bad;
    EXPECT_EQ(binomial_upper(0, 10, bad), 1) << bad;
  }
  EXPECT_EQ(binomial_p_value(0, 0, 0.02), 1);
  EXPECT_EQ(binomial_upper(0, 0, 0.05), 1);
  EXPECT_EQ(binomial_upper(10, 10, 0.05), 1);
  EXPECT_EQ(binomial_upper(-1, 10, 0.05), 1);
}

TEST(PiecesNeeded, AreThoseOfTheExactTail) {
  EXPECT_EQ(pieces_needed(0.02, 0.05, 0, Bound::binomial), 149);
  EXPECT_EQ(pieces_needed(0.02, 0.05 / 4, 0, Bound::binomial), 217);
  EXPECT_EQ(pieces_needed(0.02, 0.05 / 4, 0.015, Bound::binomial), 862);
  for (const double risk : {0.001, 0.01, 0.05, 0.3}) {
    for (const double delta : {0.001, 0.0125, 0.1}) {
      const int64_t n = pieces_needed(risk, delta, 0, Bound::binomial);
      EXPECT_LE(binomial_p_value(0, n, risk), delta);
      EXPECT_GT(binomial_p_value(0, n - 1, risk), delta);
    }
  }
}

TEST(PiecesNeeded, AreNoneWhereNoneSuffice) {
  EXPECT_EQ(pieces_needed(0.02, 0.05, 0.02), kNoPiecesSuffice);
  EXPECT_EQ(pieces_needed(0.02, 0.05, std::nan("")), kNoPiecesSuffice);
  EXPECT_EQ(pieces_needed(0, 0.05), kNoPiecesSuffice);
}

// Losses that do not spread are the easiest that betting can meet: with one piece fewer it certifies nothing.
TEST(PiecesNeeded, AreThoseWithWhichBettingCertifies) {
  EXPECT_EQ(pieces_needed(0.02, 0.05), 172);
  for (const double delta : {0.05, 0.0125}) {
    for (const float mean : {0.0f, 0.005f, 0.01f, 0.015f}) {
      const auto needed = static_cast<size_t>(pieces_needed(0.02, delta, mean));
      EXPECT_GT(mean_p_value(std::vector<float>(needed - 1, mean), 0.02).value(), delta) << mean;
      EXPECT_LE(mean_p_value(std::vector<float>(needed + 1, mean), 0.02).value(), delta) << mean;
    }
  }
}

// [pieces] of which most lose nothing and the others 1 to 5 of 32 tokens.
std::vector<float> quiet_pieces(size_t n, size_t total) {
  std::vector<float> losses(n, 0.0f);
  size_t left = total;
  for (size_t i = 0; left > 0; i = (i + 7) % n) {
    const size_t lost = std::min<size_t>(left, 1 + i % 5);
    losses[i] += static_cast<float>(lost) / 32;
    left -= lost;
  }
  return losses;
}

TEST(BettingBound, SixHundredPiecesPassTwoPercentAtAMeanOfOnePercent) {
  const std::vector<float> losses = quiet_pieces(600, 192);  // of 19200 tokens
  ASSERT_GT(std::count(losses.begin(), losses.end(), 0.0f), 450);
  EXPECT_LE(mean_upper(losses, 0.05 / 4).value(), 0.02);
  EXPECT_GT(mean_upper(losses, 0.05 / 4, Bound::hoeffding_bentkus).value(), 0.02) << "betting is the default for this";
}

// At 1.5 % no number of quiet pieces under 862 can rule out that one piece in 200 loses everything.
TEST(BettingBound, SixHundredPiecesDoNotPassTwoPercentAtAMeanOfOneAndAHalf) {
  EXPECT_GT(mean_upper(quiet_pieces(600, 288), 0.05 / 4).value(), 0.02);
  EXPECT_LE(mean_upper(quiet_pieces(1300, 624), 0.05 / 4).value(), 0.02);
}

TEST(BettingBound, DoesNotKnowTheOrderOfTheLosses) {
  std::vector<float> losses = quiet_pieces(600, 200);
  losses[3] = 1;
  const double before = mean_p_value(losses, 0.03).value(), upper = mean_upper(losses, 0.05).value();
  Random random(7);
  for (int i = 0; i < 20; ++i) {
    std::shuffle(losses.begin(), losses.end(), random);
    EXPECT_NEAR(mean_p_value(losses, 0.03).value(), before, 1e-9 * before);  // 600 products of 2^-53 each
    EXPECT_NEAR(mean_upper(losses, 0.05).value(), upper, 1e-9);
  }
}

TEST(BettingBound, ThousandsOfLossesNeitherOverflowNorVanish) {
  EXPECT_EQ(mean_p_value(std::vector<float>(100000, 0.0f), 0.5).value(), 0);
  EXPECT_EQ(mean_p_value(std::vector<float>(100000, 1.0f), 0.5).value(), 1);
  EXPECT_LT(mean_upper(std::vector<float>(100000, 0.0f), 0.05).value(), 5e-5);
  EXPECT_NEAR(mean_upper(std::vector<float>(100000, 0.3f), 0.05).value(), 0.3, 0.001);
  EXPECT_EQ(mean_upper(std::vector<float>(1000, 1.0f), 0.05).value(), 1);
}

TEST(MeanBound, TheLimitIsTheSmallestRiskThatIsRejected) {
  Random random(11);
  for (int i = 0; i < 20; ++i) {
    std::vector<float> losses(100 + 10 * static_cast<size_t>(i));
    for (float& loss : losses) loss = static_cast<float>(uniform(random) < 0.8 ? 0 : uniform(random));
    for (const Bound bound : kMeanBounds) {
      const double upper = mean_upper(losses, 0.05, bound).value();
      EXPECT_LE(mean_p_value(losses, upper, bound).value(), 0.05) << name(bound);
      double last = 1;
      for (int step = 1; step < 100; ++step) {
        const double risk = step / 100.0, p = mean_p_value(losses, risk, bound).value();
        EXPECT_LE(p, last + 1e-12) << name(bound) << " at " << risk;
        EXPECT_EQ(p <= 0.05, risk >= upper) << name(bound) << " at " << risk;
        last = p;
      }
    }
  }
}

TEST(MeanBound, OfLossesOfZeroAndOneIsNeverBelowTheExactOne) {
  for (const size_t errors : {0u, 1u, 5u, 40u}) {
    std::vector<float> losses(200, 0.0f);
    std::fill_n(losses.begin(), errors, 1.0f);
    const double exact = mean_upper(losses, 0.05, Bound::binomial).value();
    EXPECT_EQ(exact, binomial_upper(static_cast<int64_t>(errors), 200, 0.05));
    for (const Bound bound : kMeanBounds)
      EXPECT_GE(mean_upper(losses, 0.05, bound).value(), exact - 1e-9) << name(bound);
  }
}

TEST(MeanBound, NoPiecesProveNothing) {
  for (const Bound bound : {Bound::binomial, Bound::betting, Bound::hoeffding_bentkus}) {
    EXPECT_EQ(mean_p_value({}, 0.02, bound).value(), 1);
    EXPECT_EQ(mean_upper({}, 0.05, bound).value(), 1);
  }
}

TEST(MeanBound, RefusesWhatIsNotALoss) {
  for (const float bad : {std::nanf(""), -0.001f, 1.001f, std::numeric_limits<float>::infinity()}) {
    for (const Bound bound : {Bound::binomial, Bound::betting, Bound::hoeffding_bentkus}) {
      const std::vector<float> losses = {0, bad, 0};
      ASSERT_FALSE(mean_p_value(losses, 0.02, bound)) << bad;
      ASSERT_FALSE(mean_upper(losses, 0.05, bound)) << bad;
      EXPECT_NE(mean_upper(losses, 0.05, bound).error().message.find("of piece 1"), std::string::npos);
    }
  }
  EXPECT_FALSE(mean_upper(std::vector<float>{0.5f}, 0.05, Bound::binomial)) << "a share is not a count";
  EXPECT_FALSE(mean_upper(std::vector<float>{0.5f}, 0));
  EXPECT_FALSE(mean_upper(std::vector<float>{0.5f}, std::nan("")));
  EXPECT_FALSE(mean_p_value(std::vector<float>{0.5f}, 1));
}

// What pieces of text may lose, with the true mean and variance.
struct Shape {
  std::string name;
  double mean;
  double variance;
  float (*draw)(Random&, double mean);
};

float bernoulli(Random& random, double mean) { return uniform(random) < mean ? 1.0f : 0.0f; }
// One piece in (0.4 / mean) goes wrong, and then loses 0 to 80 % of its tokens.
float sparse(Random& random, double mean) {
  return uniform(random) < mean / 0.4 ? static_cast<float>(0.8 * uniform(random)) : 0.0f;
}
// Beta(1, 1 / mean - 1), by its inverse: long tail, no zeros.
float beta(Random& random, double mean) {
  return static_cast<float>(-std::expm1(std::log1p(-uniform(random)) * mean / (1 - mean)));
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const double m : {0.005, 0.02, 0.1, 0.3}) {
    all.push_back({"bernoulli", m, m * (1 - m), bernoulli});
    all.push_back({"sparse", m, m / 0.4 * 0.64 / 3 - m * m, sparse});
    all.push_back({"beta", m, m * m * (1 - m) / (1 + m), beta});
  }
  return all;
}

// The limit is below the true mean exactly where the p-value of the true mean is delta or less
// (TheLimitIsTheSmallestRiskThatIsRejected), and a p-value is 40 times cheaper.
TEST(MeanBound, FailsToCoverNoMoreOftenThanItSays) {
  constexpr int32_t kRuns = 2000;
  constexpr double kDelta = 0.05;
  const int32_t allowed = allowed_failures(kRuns, kDelta);
  Random random(2024);
  for (const Shape& shape : shapes()) {
    int32_t failures[3] = {};
    for (int32_t run = 0; run < kRuns; ++run) {
      std::vector<float> losses(300);
      for (float& loss : losses) loss = shape.draw(random, shape.mean);
      for (const Bound bound : {Bound::binomial, Bound::betting, Bound::hoeffding_bentkus}) {
        if (bound == Bound::binomial && shape.name != "bernoulli") continue;
        failures[static_cast<size_t>(bound)] += mean_p_value(losses, shape.mean, bound).value() <= kDelta;
      }
    }
    for (const Bound bound : {Bound::binomial, Bound::betting, Bound::hoeffding_bentkus}) {
      EXPECT_LE(failures[static_cast<size_t>(bound)], allowed)
          << name(bound) << ", " << shape.name << " " << shape.mean;
    }
  }
}

// Bernstein's form: v = variance, or that of Bernoulli losses where only the mean is known; L = log(1 / delta) and what
// the method pays: the smallest weight of the mixture, 20, or the factor e of Bentkus. Half as much again, because bets
// lie on a grid and the observed mean strays.
TEST(MeanBound, IsAsCloseAsTheSpreadLetsItBe) {
  constexpr size_t kPieces = 300;
  constexpr double kDelta = 0.05;
  Random random(2025);
  for (const Shape& shape : shapes()) {
    double sum[3] = {};
    constexpr int kRuns = 40;
    for (int run = 0; run < kRuns; ++run) {
      std::vector<float> losses(kPieces);
      for (float& loss : losses) loss = shape.draw(random, shape.mean);
      for (const Bound bound : kMeanBounds) {
        sum[static_cast<size_t>(bound)] += mean_upper(losses, kDelta, bound).value() / kRuns;
      }
    }
    for (const Bound bound : kMeanBounds) {
      const bool bets = bound == Bound::betting;
      const double v = bets ? shape.variance : shape.mean * (1 - shape.mean);
      const double paid = (std::log(1 / kDelta) + (bets ? std::log(20) : 1)) / kPieces;
      const double upper = sum[static_cast<size_t>(bound)];
      EXPECT_GT(upper, shape.mean) << name(bound) << ", " << shape.name << " " << shape.mean;
      EXPECT_LT(upper, shape.mean + 1.5 * (std::sqrt(2 * v * paid) + paid))
          << name(bound) << ", " << shape.name << " " << shape.mean;
    }
  }
}

}  // namespace
}  // namespace fathom
