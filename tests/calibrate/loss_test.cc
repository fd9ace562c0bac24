// What a place loses: a token, or what tokens are drawn from. Next: tests/calibrate/reference_test.cc.
#include "src/calibrate/loss.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "fathom/calibrate/recalibration.h"
#include "fathom/sample/sampler.h"

namespace fathom {
namespace {

using Logits = std::vector<float>;

// Whose softmax at temperature 1 is p, up to a shift that changes nothing.
Logits logits_of(const std::vector<double>& p, double shift = 0) {
  Logits out;
  for (const double x : p) out.push_back(static_cast<float>(std::log(x) + shift));
  return out;
}

std::vector<double> softmax(const Logits& logits, double temperature) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  double sum = 0;
  for (const float x : logits) sum += p.emplace_back(std::exp((double{x} - max) / temperature));
  for (double& x : p) x /= sum;
  return p;
}

double by_definition(const Logits& a, const Logits& b, double temperature) {
  const std::vector<double> p = softmax(a, temperature), q = softmax(b, temperature);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::abs(p[i] - q[i]);
  return sum / 2;
}

Logits random_logits(size_t n, double spread, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, spread);
  Logits out(n);
  for (float& x : out) x = static_cast<float>(normal(random));
  return out;
}

TEST(TotalVariation, OfKnownDistributionsIsWhatTheySay) {
  const Logits a = logits_of({.5, .3, .2}), b = logits_of({.4, .4, .2}, 7);
  EXPECT_NEAR(total_variation(a, b, 1), .1, 2e-6);
  EXPECT_NEAR(total_variation(b, a, 1), .1, 2e-6);
  // At temperature 2 chances are as their roots.
  const double p0 = std::sqrt(.5) / (std::sqrt(.5) + std::sqrt(.3) + std::sqrt(.2));
  const double q0 = std::sqrt(.4) / (2 * std::sqrt(.4) + std::sqrt(.2));
  const double p2 = std::sqrt(.2) / (std::sqrt(.5) + std::sqrt(.3) + std::sqrt(.2));
  const double q2 = std::sqrt(.2) / (2 * std::sqrt(.4) + std::sqrt(.2));
  EXPECT_NEAR(total_variation(a, b, 2), std::max(p0 - q0, 0.0) + std::max(p2 - q2, 0.0), 2e-6);
  EXPECT_NEAR(total_variation(logits_of({1 - 1e-7, 1e-7}), logits_of({1e-7, 1 - 1e-7}), 1), 1, 1e-5);
}

TEST(TotalVariation, IsNothingOfTheSameBitsWhateverTheyAre) {
  for (const double spread : {0.0, 1.0, 50.0, 1e30}) {
    const Logits row = random_logits(4099, spread, 3);
    for (const double t : {1e-3, .8, 40.0}) EXPECT_EQ(total_variation(row, row, t), 0) << spread << ", " << t;
  }
}

TEST(TotalVariation, IsWithinItsRoundingOfTheDefinition) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const double spread = .5 * double(seed + 1), t = seed % 2 == 0 ? .7 : 1.6;
    const Logits a = random_logits(20000, spread, seed);
    Logits b = random_logits(20000, spread / 4, 100 + seed);
    for (size_t i = 0; i < a.size(); ++i) b[i] += a[i];
    EXPECT_NEAR(total_variation(a, b, t), by_definition(a, b, t), 2e-6) << "seed " << seed;
  }
}

TEST(TotalVariation, OfTemperaturesWithoutMeasureIsThatOfTheirLimits) {
  const Logits a = {3, 1, 2}, b = {1, 3, 2};
  EXPECT_EQ(total_variation(a, b, 1e-300), 1) << "all on the largest";
  EXPECT_NEAR(total_variation(a, b, 1e30), 0, 1e-6) << "all alike";
  const float none = -std::numeric_limits<float>::infinity();
  EXPECT_NEAR(total_variation(Logits{0, none}, Logits{0, 0}, 1), .5, 1e-6) << "a token that is forbidden";
}

TEST(Loss, AtTemperatureZeroIsTheTokenAndAboveTheVariation) {
  const Logits a = logits_of({.5, .3, .2}), b = logits_of({.4, .35, .25});
  const Answer full{.best = 0, .max = a[0], .logits = a}, early{.best = 0, .max = b[0], .logits = b};
  const Answer other{.best = 1};
  EXPECT_EQ(Loss()(full, early), 0);
  EXPECT_EQ(Loss()(full, other), 1);
  EXPECT_NEAR(Loss(1)(full, early), .1, 2e-6) << "the same token, drawn less often";
  EXPECT_FALSE(Loss().compares_logits());
  EXPECT_TRUE(Loss(.1).compares_logits());
}

TEST(Loss, NamesATemperatureThatIsNone) {
  for (const double good : {0.0, 1e-9, .8, 1e6}) EXPECT_TRUE(Loss(good).check().has_value());
  EXPECT_EQ(Loss(-.5).check().error().message, "temperature -0.5: give 0 (greedy tokens) to 1e+06");
  EXPECT_EQ(Loss(NAN).check().error().code, ErrorCode::argument);
  EXPECT_FALSE(Loss(INFINITY).check().has_value());
  EXPECT_FALSE(Loss(1e7).check().has_value()) << "no reader of a sidecar takes it";
}

TEST(Loss, IsPromisedAsWhatItIs) {
  PieceGroup code, prose;
  code.name = "code", prose.name = "prose";
  prose.spaced = true, prose.n_documents = 3;
  const Pieces pieces{.groups = {code, prose}, .documents = {}, .pieces = {}, .fingerprints = {}};
  EXPECT_EQ(promise_of(pieces, {.risk = .02}),
            "With confidence 95 %, at most 2 % of tokens differ from this model's own full depth, in each of code, "
            "prose. It is about stretches of 64 tokens, each read without what came before it; longer ones were not "
            "looked at. Of prose it is about the text of its 3 documents alone.");
  const std::string drawn = promise_of(pieces, {.risk = .02, .temperature = .8});
  EXPECT_TRUE(drawn.starts_with(
      "With confidence 95 %, the distribution at temperature 0.8 that a token is drawn from differs by at most 2 % in "
      "total variation on average from this model's own full depth, in each of code, prose; tokens of one seed may "
      "then "
      "differ in up to 3.92 % of the places."))
      << drawn;
  const std::string groups[] = {"code"};
  EXPECT_NE(own_promise_of(groups, {.temperature = .8}).find("2 % in total variation on average in each of code"),
            std::string::npos);
}

// The sampler's own noise: no draw can differ less often than the variation, and one seed's not much more often.
TEST(DifferingShare, IsTheMostThatDrawsOfOneSeedDiffer) {
  constexpr int kDraws = 20000;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const Logits a = random_logits(40, 1.5, seed);
    Logits b = random_logits(40, .4, 50 + seed);
    for (size_t i = 0; i < a.size(); ++i) b[i] += a[i];
    const double variation = total_variation(a, b, .8), most = differing_share(variation);
    int differ = 0;
    for (int draw = 0; draw < kDraws; ++draw) {
      const SampleOptions options{.temperature = .8f, .seed = uint64_t(draw)};
      differ += sample(a, options, 0, 7) != sample(b, options, 0, 7);
    }
    const double share = double(differ) / kDraws, noise = 4 * std::sqrt(most * (1 - most) / kDraws);
    EXPECT_LE(share, most + noise) << "variation " << variation;
    EXPECT_GE(share, variation - noise) << "variation " << variation;
  }
}

// Pieces of places whose distributions are known: the answer is mixed with another token's certainty, so that the
// variation of each place is what was mixed in.
LossPool pool_of_mixtures(const std::vector<double>& risks) {
  std::mt19937_64 random(11);
  std::uniform_real_distribution<double> uniform;
  const Loss loss(1);
  LossPool pool{.groups = {"text"}, .pieces = {}};
  for (int32_t document = 0; document < 400; ++document) {
    PoolPiece& piece = pool.pieces.emplace_back(PoolPiece{.document = document, .losses = {}});
    const double harshness = uniform(random);  // of the whole piece: its places depend on one another
    for (const double risk : risks) {
      double sum = 0;
      for (int place = 0; place < 8; ++place) {
        const double share = 4 * risk * harshness * uniform(random);  // mean: the risk
        const std::vector<double> p = {.6, .3, .1};
        const std::vector<double> q = {.6 * (1 - share), .3 * (1 - share), .1 * (1 - share), share};
        const Logits full = logits_of({p[0], p[1], p[2], 1e-30}), early = logits_of(q);
        const float lost = loss({.max = full[0], .logits = full}, {.max = early[0], .logits = early});
        EXPECT_NEAR(lost, share, 1e-5);
        sum += lost;
      }
      piece.losses.push_back(float(sum / 8));
    }
  }
  return pool;
}

TEST(Loss, ACertificateOfKnownDistributionsIsKept) {
  const LossPool pool = pool_of_mixtures({.004, .0202, .0212, .04});
  const Recalibration kept = recalibrate(pool, {.certify = {.risks = {.02}}, .runs = 400}).value();
  EXPECT_TRUE(kept.kept()) << kept.broken << " of " << kept.runs << " broken, " << kept.allowed << " allowed";
  EXPECT_GT(kept.certified, kept.runs / 2) << "the safest is far below the risk";
}

}  // namespace
}  // namespace fathom
