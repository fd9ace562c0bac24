// The translator with a hidden layer. Next: tests/calibrate/temperature_test.cc.
#include "fathom/calibrate/mlp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/calibrate/rows.h"
#include "tests/support/compare.h"

namespace fathom {
namespace {

using testing::affine;
using testing::normal_values;
using testing::same_bits;
using Floats = std::vector<float>;

constexpr size_t kWidth = 8;

double gelu(double u) { return 0.5 * u * (1 + std::tanh(std::sqrt(2 / M_PI) * (u + 0.044715 * u * u * u))); }

// Two hidden units that no affine map can follow, on top of an affine map. Rows have a root mean square of 1, since
// what the base takes of the units' linear part it takes of x, and the hidden layer can give back of norm(x) only.
struct Planted {
  Floats x, y;

  Planted(size_t n, uint64_t seed, double noise = 0) : x(normal_values(n * kWidth, seed)) {
    for (size_t row = 0; row < x.size(); row += kWidth) {
      double square = 0;
      for (size_t i = 0; i < kWidth; ++i) square += double{x[row + i]} * x[row + i];
      for (size_t i = 0; i < kWidth; ++i) x[row + i] = static_cast<float>(x[row + i] / std::sqrt(square / kWidth));
    }
    const Floats down = normal_values(kWidth * kWidth, 1, 0.1), in = normal_values(kWidth * 2, 2, 1.5);
    const Floats out = normal_values(2 * kWidth, 3, 1), extra = normal_values(n * kWidth, seed + 1000, noise);
    y = affine(x, kWidth, down, {}, Floats(kWidth));
    for (size_t row = 0; row < x.size(); row += kWidth) {
      double u[2] = {0, 0};
      for (size_t i = 0; i < kWidth; ++i) u[0] += x[row + i] * in[i * 2], u[1] += x[row + i] * in[i * 2 + 1];
      for (size_t j = 0; j < kWidth; ++j) {
        y[row + j] += static_cast<float>(gelu(u[0]) * out[j] + gelu(u[1]) * out[kWidth + j]) + extra[row + j];
      }
    }
  }

  RowPairs rows() const { return {.x = x, .y = y}; }
};

AffineTranslator ridge(const RowPairs& rows) {
  RidgeFit fit(kWidth);
  fit.add(rows.x, rows.y).value();
  return fit.solve({.lambda = 1e-4f}).value();
}

TEST(FitMlp, LearnsWhatNoAffineMapCanSay) {
  const Planted training(3000, 10), held_out(500, 11);
  const AffineTranslator base = ridge(training.rows());
  const MlpOptions options{.hidden = 8, .max_epochs = 60, .patience = 60, .batch = 64, .learning_rate = 0.01f};
  const MlpFit fit = fit_mlp(base, training.rows(), held_out.rows(), options).value();
  EXPECT_LT(fit.error, 0.02 * fit.base_error) << fit.error << " after " << fit.epochs << " epochs";
  EXPECT_DOUBLE_EQ(mean_squared_error(fit.translator, held_out.rows()), fit.error);
  // By the formula, in double.
  Floats out(kWidth);
  translate(fit.translator, std::span(held_out.x).first(kWidth), out);
  Floats want = affine(Floats(held_out.x.begin(), held_out.x.begin() + kWidth), kWidth, base.down, {}, base.bias);
  double square = 0;
  for (size_t i = 0; i < kWidth; ++i) square += double{held_out.x[i]} * held_out.x[i];
  for (size_t k = 0; k < 8; ++k) {
    double u = fit.translator.b1[k];
    for (size_t i = 0; i < kWidth; ++i) {
      u += held_out.x[i] / std::sqrt(square / kWidth + 1e-6) * fit.translator.w1[i * 8 + k];
    }
    for (size_t j = 0; j < kWidth; ++j) want[j] += static_cast<float>(gelu(u) * fit.translator.w2[k * kWidth + j]);
  }
  for (size_t j = 0; j < kWidth; ++j) want[j] += fit.translator.b2[j];
  // Sums of about 30 terms below 8, in f32.
  EXPECT_TRUE(testing::all_near<float>(out, std::span<const float>(want), [](size_t) { return 30 * 8 * 0x1p-24; }));
}

TEST(FitMlp, TheFirstLayerMovesAgainstItsGradient) {
  // From w2 = 0 the first step, over all rows, moves w2 alone; w1's first gradient g comes with the second step, where
  // Adam's means are 0.1 g / (1 - 0.9^2) and 0.001 g^2 / (1 - 0.999^2), and half of the cosine's rate is left.
  const Planted rows(400, 12);
  const AffineTranslator base = ridge(rows.rows());
  MlpOptions options{.hidden = 64, .max_epochs = 1, .batch = 400, .learning_rate = 0.05f, .weight_decay = 0};
  MlpTranslator first = fit_mlp(base, rows.rows(), rows.rows(), options).value().translator;
  options.max_epochs = 2;
  const MlpFit second = fit_mlp(base, rows.rows(), rows.rows(), options).value();
  ASSERT_EQ(second.best_epoch, 2);
  const double move = 0.05 / 2 * (0.1 / 0.19) / std::sqrt(0.001 / 0.001999);
  int seen = 0;
  for (size_t i = 0; i < first.w1.size(); ++i) {
    const float at = first.w1[i];
    double errors[2];
    for (const int side : {0, 1}) {
      first.w1[i] = at + (side == 0 ? -1e-2f : 1e-2f);
      errors[side] = mean_squared_error(first, rows.rows());
    }
    first.w1[i] = at;
    const double slope = (errors[1] - errors[0]) / 2e-2;
    if (std::abs(slope) < 1e-4) continue;  // the third derivative times 1e-4 / 6, with units of about 1
    EXPECT_NEAR(second.translator.w1[i] - at, slope > 0 ? -move : move, 1e-3 * move) << i << " slope " << slope;
    ++seen;
  }
  EXPECT_GT(seen, 450) << "of 512";
}

TEST(FitMlp, IsNeverWorseThanItsBaseOnTheHeldOutRows) {
  // Nothing to learn: the residual is noise, and 40 rows invite overfitting.
  for (const uint64_t seed : {20, 21, 22, 23}) {
    const Floats x = normal_values(40 * kWidth, seed), y = normal_values(40 * kWidth, seed + 50);
    const Floats held_x = normal_values(200 * kWidth, seed + 100), held_y = normal_values(200 * kWidth, seed + 150);
    const RowPairs training{.x = x, .y = y}, held_out{.x = held_x, .y = held_y};
    const MlpFit fit = fit_mlp(ridge(training), training, held_out, {.hidden = 64, .seed = seed}).value();
    EXPECT_LE(fit.error, fit.base_error) << "seed " << seed;
    EXPECT_DOUBLE_EQ(mean_squared_error(fit.translator, held_out), fit.error) << "seed " << seed;
  }
}

TEST(FitMlp, WithoutEpochsIsTheBaseBitForBit) {
  const Planted rows(100, 30);
  const AffineTranslator base = ridge(rows.rows());
  const MlpFit fit = fit_mlp(base, rows.rows(), rows.rows(), {.hidden = 4, .max_epochs = 0}).value();
  EXPECT_EQ(fit.best_epoch, 0);
  Floats a(rows.x.size()), b(rows.x.size());
  translate(base, rows.x, a);
  translate(fit.translator, rows.x, b);
  EXPECT_TRUE(same_bits<float>(b, a));
}

TEST(FitMlp, ASeedGivesTheSameBits) {
  const Planted training(500, 31), held_out(100, 32);
  const AffineTranslator base = ridge(training.rows());
  const auto fit = [&](uint64_t seed) {
    return fit_mlp(base, training.rows(), held_out.rows(), {.hidden = 16, .max_epochs = 3, .seed = seed}).value();
  };
  const MlpFit a = fit(7), b = fit(7), c = fit(8);
  EXPECT_TRUE(same_bits<float>(a.translator.w1, b.translator.w1));
  EXPECT_TRUE(same_bits<float>(a.translator.w2, b.translator.w2));
  EXPECT_NE(a.translator.w1, c.translator.w1);
}

TEST(FitMlp, TheMetricSaysWhichOutputsMatter) {
  // Every output but one is drowned in noise.
  Planted training(2000, 33), held_out(500, 34);
  for (Floats* y : {&training.y, &held_out.y}) {
    const Floats noise = normal_values(y->size(), y->size(), 100);
    for (size_t i = 0; i < y->size(); ++i) (*y)[i] += i % kWidth == 2 ? 0 : noise[i];
  }
  Floats one(kWidth);
  one[2] = 3;
  const AffineTranslator base = ridge(training.rows());
  MlpOptions options{.hidden = 8, .max_epochs = 40, .patience = 40, .batch = 64, .learning_rate = 0.01f};
  const MlpFit all = fit_mlp(base, training.rows(), held_out.rows(), options).value();
  options.metric = one;
  const MlpFit only = fit_mlp(base, training.rows(), held_out.rows(), options).value();
  EXPECT_DOUBLE_EQ(mean_squared_error(only.translator, held_out.rows(), one), only.error);
  EXPECT_LT(only.error, 0.1 * only.base_error);
  EXPECT_GT(mean_squared_error(all.translator, held_out.rows(), one), 0.5 * only.base_error);
}

TEST(FitMlp, StopsWhenTheCallerSaysSoAndKeepsTheBest) {
  const Planted training(500, 35), held_out(100, 36);
  struct Seen {
    int32_t epochs = 0;
    double last = 0;
  } seen;
  MlpOptions options{.hidden = 16, .max_epochs = 50};
  options.context = &seen;
  options.on_epoch = [](void* context, const MlpEpoch& epoch) {
    auto& s = *static_cast<Seen*>(context);
    s.epochs = epoch.epoch;
    s.last = epoch.held_out_error;
    return epoch.epoch < 3;
  };
  const MlpFit fit = fit_mlp(ridge(training.rows()), training.rows(), held_out.rows(), options).value();
  EXPECT_EQ(seen.epochs, 3);
  EXPECT_EQ(fit.epochs, 3);
  EXPECT_LE(fit.error, seen.last);
}

TEST(FitMlp, RefusesRowsAndOptionsThatCannotBe) {
  const Planted rows(20, 37);
  const AffineTranslator base = ridge(rows.rows());
  Floats bad = rows.y;
  bad[2 * kWidth + 5] = std::numeric_limits<float>::infinity();
  const Result<MlpFit> infinite = fit_mlp(base, rows.rows(), {.x = rows.x, .y = bad});
  ASSERT_FALSE(infinite);
  EXPECT_EQ(infinite.error().message, "held-out y: row 2, column 5 is inf: leave out rows that are not finite");
  EXPECT_FALSE(fit_mlp(base, {}, rows.rows()));
  EXPECT_FALSE(fit_mlp(base, {.x = rows.x, .y = std::span(rows.y).first(kWidth)}, rows.rows()));
  EXPECT_FALSE(fit_mlp({}, rows.rows(), rows.rows()));
  EXPECT_FALSE(fit_mlp(base, rows.rows(), rows.rows(), {.hidden = 0}));
  EXPECT_FALSE(fit_mlp(base, rows.rows(), rows.rows(), {.batch = 0}));
  EXPECT_FALSE(fit_mlp(base, rows.rows(), rows.rows(), {.learning_rate = NAN}));
}

}  // namespace
}  // namespace fathom
