// Affine translators against planted maps and direct solves. Next: tests/calibrate/mlp_test.cc.
#include "fathom/calibrate/ridge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "tests/calibrate/rows.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::affine;
using testing::all_near;
using testing::normal_values;
using testing::same_bits;
using Floats = std::vector<float>;

constexpr size_t kWidth = 24;
constexpr size_t kRows = 600;

// An entry of a block's product is off by at most 256 * 2^-24 of its terms' magnitudes, about 1 here; a matrix of such
// entries has norm below sqrt(d) times that, and white inputs have |C^-1| <= 1 / (1 - sqrt(d / n))^2. C and C_xt are
// both off, hence the 2.
double weight_tolerance(size_t d = kWidth, size_t n = kRows) {
  const double edge = 1 - std::sqrt(static_cast<double>(d) / static_cast<double>(n));
  return 2 * 256 * 0x1p-24 * std::sqrt(static_cast<double>(d)) / (edge * edge);
}

auto within(double tolerance) {
  return [tolerance](size_t) { return tolerance; };
}

RidgeFit fitted(const Floats& x, const Floats& y, size_t d = kWidth) {
  RidgeFit fit(static_cast<int32_t>(d));
  fit.add(x, y).value();
  return fit;
}

double error_on_rows(const AffineTranslator& translator, const Floats& x, const Floats& y, const Floats& metric) {
  Floats out(x.size());
  translate(translator, x, out);
  double sum = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const double weight = metric.empty() ? 1 : metric[i % metric.size()];
    sum += std::pow(weight * (double{y[i]} - out[i]), 2);
  }
  return sum / static_cast<double>(out.size());
}

// Ridge by its definition, in double.  [d, d]
std::vector<double> direct(const Floats& x, const Floats& y, size_t d, double lambda, RidgePenalty penalty) {
  const size_t n = x.size() / d;
  std::vector<double> mean_x(d), mean_t(d), a(d * d), b(d * d);
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x[i % d] += x[i] / static_cast<double>(n);
    mean_t[i % d] += (double{y[i]} - x[i]) / static_cast<double>(n);
  }
  for (size_t row = 0; row < x.size(); row += d) {
    for (size_t i = 0; i < d; ++i) {
      const double xi = (x[row + i] - mean_x[i]) / static_cast<double>(n);
      for (size_t j = 0; j < d; ++j) {
        a[i * d + j] += xi * (x[row + j] - mean_x[j]);
        b[i * d + j] += xi * (double{y[row + j]} - x[row + j] - mean_t[j]);
      }
    }
  }
  double trace = 0;
  for (size_t i = 0; i < d; ++i) trace += a[i * d + i];
  for (size_t i = 0; i < d; ++i) {
    a[i * d + i] += lambda * (penalty == RidgePenalty::uniform ? trace / static_cast<double>(d) : a[i * d + i]);
  }
  testing::solve_in_place(a, b, d);
  return b;
}

TEST(RidgeFit, RecoversAPlantedAffineMap) {
  const Floats x = normal_values(kRows * kWidth, 1), down = normal_values(kWidth * kWidth, 2, 0.2);
  const Floats bias = normal_values(kWidth, 3);
  const AffineTranslator got = fitted(x, affine(x, kWidth, down, {}, bias)).solve({.lambda = 1e-7f}).value();
  const double tolerance = weight_tolerance() + 1e-6;  // and what lambda shrinks
  EXPECT_TRUE(all_near<float>(got.down, std::span<const float>(down), within(tolerance)));
  EXPECT_TRUE(all_near<float>(got.bias, std::span<const float>(bias), within(tolerance)));
}

TEST(RidgeFit, EqualsADirectSolve) {
  const Floats x = normal_values(kRows * kWidth, 4), y = normal_values(kRows * kWidth, 5);
  const RidgeFit fit = fitted(x, y);
  for (const RidgePenalty penalty : {RidgePenalty::uniform, RidgePenalty::by_variance}) {
    for (const float lambda : {0.0f, 0.01f, 1.0f, 30.0f}) {
      const AffineTranslator got = fit.solve({.lambda = lambda, .penalty = penalty}).value();
      const std::vector<double> want = direct(x, y, kWidth, lambda, penalty);
      EXPECT_TRUE(all_near<double>(got.down, std::span<const double>(want), within(weight_tolerance())))
          << "lambda " << lambda;
    }
  }
}

TEST(RidgeFit, ALargeLambdaLeavesTheIdentityAndAConstant) {
  const Floats x = normal_values(kRows * kWidth, 6), bias = normal_values(kWidth, 7);
  const Floats y = affine(x, kWidth, normal_values(kWidth * kWidth, 8, 0.2), {}, bias);
  const AffineTranslator got = fitted(x, y).solve({.lambda = 1e6f}).value();
  std::vector<double> mean(kWidth);
  for (size_t i = 0; i < x.size(); ++i) mean[i % kWidth] += (double{y[i]} - x[i]) / kRows;
  const Floats none(kWidth * kWidth);
  EXPECT_TRUE(all_near<float>(got.down, std::span<const float>(none), within(1e-6)));
  EXPECT_TRUE(all_near<double>(got.bias, std::span<const double>(mean), within(1e-5)));
}

TEST(RidgeFit, ChunksChangeNoBit) {
  const Floats x = normal_values(kRows * kWidth, 9), y = normal_values(kRows * kWidth, 10);
  const AffineTranslator want = fitted(x, y).solve().value();
  for (const size_t rows : {1, 7, 255, 256, 257, 599}) {
    RidgeFit fit(kWidth);
    for (size_t at = 0; at < x.size(); at += rows * kWidth) {
      const size_t size = std::min(rows * kWidth, x.size() - at);
      fit.add(std::span(x).subspan(at, size), std::span(y).subspan(at, size)).value();
    }
    EXPECT_EQ(fit.rows(), static_cast<int64_t>(kRows));
    const AffineTranslator got = fit.solve().value();
    EXPECT_TRUE(same_bits<float>(got.down, want.down)) << rows << " rows at a time";
    EXPECT_TRUE(same_bits<float>(got.bias, want.bias)) << rows << " rows at a time";
  }
}

TEST(RidgeFit, MeansFarFromZeroCostNoPrecision) {
  const size_t d = 8, n = 2000;
  Floats x = normal_values(n * d, 11);
  for (size_t i = 0; i < x.size(); ++i) x[i] += 1000.0f * static_cast<float>(i % d + 1);
  const Floats down = normal_values(d * d, 12, 0.1);
  const AffineTranslator got = fitted(x, affine(x, d, down, {}, Floats(d)), d)
                                   .solve({.lambda = 1e-9f, .penalty = RidgePenalty::by_variance})
                                   .value();
  // y near 8000 is rounded to 2^-12 (half an ulp), independently by row: 5 deviations of the mean product with x, and
  // once more the rounding of block products.
  const double tolerance = 5 * 0x1p-12 / std::sqrt(3.0 * static_cast<double>(n)) + weight_tolerance(d, n);
  EXPECT_TRUE(all_near<float>(got.down, std::span<const float>(down), within(tolerance)));
}

TEST(RidgeFit, APenaltyByVarianceDoesNotDependOnUnits) {
  // One input is 1000 times the others, as in hidden states with massive activations.
  const size_t d = 8, n = 2000;
  Floats x = normal_values(n * d, 13);
  for (size_t i = 0; i < x.size(); i += d) x[i] *= 1000;
  Floats down(d * d);
  for (size_t i = 1; i < d; ++i) down[i * d + i] = -0.5f;
  const RidgeFit fit = fitted(x, affine(x, d, down, {}, Floats(d)), d);
  const auto by_variance = fit.solve({.lambda = 1e-3f, .penalty = RidgePenalty::by_variance}).value();
  const auto uniform = fit.solve({.lambda = 1e-3f}).value();
  for (size_t i = 1; i < d; ++i) {
    EXPECT_NEAR(by_variance.down[i * d + i], -0.5, 0.5 * 1e-3 + weight_tolerance(d, n)) << i;
    EXPECT_GT(uniform.down[i * d + i], -0.1) << i << " is shrunk by the variance of another input";
  }
}

TEST(RidgeFit, ErrorsFromMomentsAreThoseOfTheRows) {
  const Floats x = normal_values(kRows * kWidth, 14), y = normal_values(kRows * kWidth, 15);
  const Floats other_x = normal_values(333 * kWidth, 16), other_y = normal_values(333 * kWidth, 17);
  const PairMoments moments = fitted(x, y).moments(), held_out = fitted(other_x, other_y).moments();
  for (const Floats& metric : {Floats(), normal_values(kWidth, 18)}) {
    for (const auto& translator : {solve_ridge(moments).value(), solve_low_rank(moments, 3).value()}) {
      const double want = error_on_rows(translator, other_x, other_y, metric);
      EXPECT_NEAR(mean_squared_error(translator, held_out, metric), want, 1e-5 * want) << "rank " << translator.rank;
    }
  }
}

TEST(RidgeFit, FewNoisyRowsAskForALargerLambda) {
  const size_t d = 32;
  const Floats down = normal_values(d * d, 19, 0.05);
  const auto rows = [&](size_t n, uint64_t seed, double noise) {
    const Floats x = normal_values(n * d, seed);
    Floats y = affine(x, d, down, {}, Floats(d));
    const Floats extra = normal_values(n * d, seed + 1, noise);
    for (size_t i = 0; i < y.size(); ++i) y[i] += extra[i];
    return fitted(x, y, d).moments();
  };
  const PairMoments held_out = rows(1000, 20, 1);
  const RidgeChoice few = choose_ridge(rows(48, 30, 1), held_out).value();
  const RidgeChoice many = choose_ridge(rows(4000, 40, 0.1), held_out).value();
  EXPECT_GT(few.options.lambda, many.options.lambda);
  EXPECT_LT(many.error, many.identity_error);
  ASSERT_EQ(few.errors.size(), std::size(kRidgeLambdas));
  for (const double error : few.errors) EXPECT_GE(error, few.error);
}

TEST(LowRank, RecoversAPlantedResidualOfThatRank) {
  const size_t rank = 3;
  const Floats x = normal_values(kRows * kWidth, 50), bias = normal_values(kWidth, 53);
  const Floats down = normal_values(kWidth * rank, 51, 0.3), up = normal_values(rank * kWidth, 52, 0.3);
  const Floats y = affine(x, kWidth, down, up, bias);
  const PairMoments moments = fitted(x, y).moments();
  const AffineTranslator got = solve_low_rank(moments, rank, {.lambda = 1e-7f}).value();
  EXPECT_EQ(got.down.size(), kWidth * rank);
  EXPECT_EQ(got.up.size(), rank * kWidth);
  Floats out(x.size());
  translate(got, x, out);
  // A row of the product sums d weights, each off by the tolerance, times inputs of about 1 (at most 5).
  const double tolerance = 5 * std::sqrt(double{kWidth}) * weight_tolerance();
  EXPECT_TRUE(all_near<float>(out, std::span<const float>(y), within(tolerance)));
  const double less = mean_squared_error(solve_low_rank(moments, 2, {.lambda = 1e-7f}).value(), moments);
  EXPECT_GT(less, 0.01) << "the third direction matters";
}

TEST(LowRank, NoOtherMapOfItsRankIsBetter) {
  const Floats x = normal_values(kRows * kWidth, 54), metric = normal_values(kWidth, 55);
  const Floats y = affine(x, kWidth, normal_values(kWidth * kWidth, 56, 0.3), {}, Floats(kWidth));
  const PairMoments moments = fitted(x, y).moments();
  const AffineTranslator best = solve_low_rank(moments, 4, {.lambda = 0}, metric).value();
  const double least = mean_squared_error(best, moments, metric);
  for (uint64_t seed = 100; seed < 160; ++seed) {
    const double size = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 0.1 : 0.01;  // far away and near by
    AffineTranslator other = best;
    const Floats more_down = normal_values(other.down.size(), seed, size),
                 more_up = normal_values(other.up.size(), ~seed, size);
    for (size_t i = 0; i < other.down.size(); ++i) other.down[i] += more_down[i];
    for (size_t i = 0; i < other.up.size(); ++i) other.up[i] += more_up[i];
    EXPECT_GT(mean_squared_error(other, moments, metric), least) << "seed " << seed;
  }
}

TEST(LowRank, AtFullRankIsTheRidgeItself) {
  const Floats x = normal_values(kRows * kWidth, 57), y = normal_values(kRows * kWidth, 58);
  const RidgeFit fit = fitted(x, y);
  const AffineTranslator full = fit.solve().value(), low = solve_low_rank(fit.moments(), kWidth).value();
  Floats a(x.size()), b(x.size());
  translate(full, x, a);
  translate(low, x, b);
  // Three f32 roundings of sums of d terms of about 1.
  EXPECT_TRUE(all_near<float>(b, std::span<const float>(a), within(3 * kWidth * 5 * 0x1p-24)));
}

TEST(RidgeFit, NamesTheRowAndColumnOfAValueThatIsNotFinite) {
  RidgeFit fit(4);
  Floats x(12), y(12);
  fit.add(x, y).value();
  y[6] = std::numeric_limits<float>::quiet_NaN();
  const Result<void> nan = fit.add(x, y);
  ASSERT_FALSE(nan);
  EXPECT_EQ(nan.error().message, "y: row 4, column 2 is nan: leave out rows that are not finite");
  x[1] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(fit.add(x, y).error().message, "x: row 3, column 1 is inf: leave out rows that are not finite");
  EXPECT_EQ(fit.rows(), 3) << "nothing of a refused chunk is taken";
  EXPECT_EQ(fit.add(Floats(5), Floats(5)).error().code, ErrorCode::shape);
  EXPECT_EQ(fit.add(Floats(8), Floats(4)).error().code, ErrorCode::shape);
}

TEST(RidgeFit, RefusesWhatCannotBeSolved) {
  EXPECT_EQ(RidgeFit(4).solve().error().message, "fit: no rows: add some first");
  Floats x = normal_values(40, 60);
  for (size_t i = 0; i < x.size(); i += 4) x[i] = 1;  // never changes
  const RidgeFit fit = fitted(x, x, 4);
  EXPECT_NE(fit.solve({.lambda = 0}).error().message.find("raise lambda"), std::string::npos);
  EXPECT_TRUE(fit.solve({.lambda = 1e-4f}));
  EXPECT_TRUE(fit.solve({.lambda = 1e-4f, .penalty = RidgePenalty::by_variance}));
  EXPECT_FALSE(fit.solve({.lambda = -1}));
  EXPECT_FALSE(solve_low_rank(fit.moments(), 5));
  EXPECT_FALSE(solve_low_rank(fit.moments(), 2, {}, Floats{1, 1}));
  EXPECT_FALSE(solve_low_rank(fit.moments(), 2, {}, Floats(4)));
  EXPECT_FALSE(choose_ridge(fit.moments(), PairMoments()));
  const Floats same(40, 2.0f);  // nothing ever changes: the map is x + a constant
  const AffineTranslator constant = fitted(same, Floats(40, 3.0f), 4).solve({.lambda = 0}).value();
  EXPECT_EQ(constant.bias, Floats(4, 1.0f));
  const Floats huge(40, 3e38f);
  Floats varied = huge;
  varied[3] = -3e38f;
  EXPECT_NE(fitted(varied, huge, 4).solve().error().message.find("overflow"), std::string::npos);
}

}  // namespace
}  // namespace fathom
