// Binomial tails by Boost.Math; the capital of bets against a mean; Hoeffding and Bentkus.
#include "fathom/calibrate/bound.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <vector>

namespace fathom {
namespace {

// Doubles throughout: long doubles are slower and give no digit that matters here.
using InDoubles = boost::math::policies::policy<boost::math::policies::promote_double<false>>;

// Written so that a NaN is outside.
bool inside(double x) { return x > 0 && x < 1; }

Error out_of_range(const char* what, double value) {
  return {ErrorCode::argument, fmt::format("{} {}: give a number between 0 and 1", what, value)};
}

// What the bounds read of the losses. Those that are 0, of pieces of text nearly all, are only counted.
struct Losses {
  std::vector<float> above_zero;
  int64_t n = 0;
  double sum = 0;

  double n_zero() const { return static_cast<double>(n) - static_cast<double>(above_zero.size()); }
};

Result<Losses> read(std::span<const float> losses, Bound bound) {
  Losses all = {.above_zero = {}, .n = static_cast<int64_t>(losses.size())};
  for (size_t i = 0; i < losses.size(); ++i) {
    const float loss = losses[i];
    if (!(loss >= 0 && loss <= 1)) {
      return Error{ErrorCode::argument, fmt::format("loss {} of piece {}: losses lie in [0, 1]", loss, i)};
    }
    if (bound == Bound::binomial && loss != 0 && loss != 1) {
      return Error{ErrorCode::argument,
                   fmt::format("loss {} of piece {}: binomial tails count losses of 0 and 1; use betting", loss, i)};
    }
    if (loss > 0) all.above_zero.push_back(loss);
    all.sum += loss;
  }
  return all;
}

// Bets against "the mean is m or more". A bet of the share c multiplies the capital by 1 + c (m - x) / (1 - m) for each
// loss x: never negative, and 1 at most on average where the mean is m or more. So the capital of a mixture of bets, 1
// before the first loss, reaches 1 / delta with probability delta at most (Markov), and 1 / capital is a p-value.
//
// Why a fixed mixture and no bets learnt from the losses before (the plug-in of Waudby-Smith and Ramdas):
// its capital is a sum of products, so the order of the losses, and with it the seed that drew the order, cannot change
// a certificate. The best of the mixture costs log(1 / weight); learnt bets pay too, while they learn. Pieces of
// text lose nothing nearly always, and then all or nearly all should be bet: hence the weights.
constexpr std::array<double, 7> kShares = {1, 0.9, 0.75, 0.5, 0.25, 0.1, 0.03};
constexpr std::array<double, 7> kWeights = {0.4, 0.2, 0.15, 0.1, 0.05, 0.05, 0.05};

// The logarithm of the capital. It grows with m: so does each factor, for its derivative is c (1 - x) / (1 - m)^2.
double log_capital(const Losses& losses, double m) {
  // A factor of a loss below 1 is over 2^-53 and under 2^53, so that sixteen of them are far from a double's ends.
  constexpr size_t kFactors = 16;
  std::array<double, kShares.size()> capital = kWeights;
  std::array<int64_t, kShares.size()> exponent = {};
  const double scale = 1 / (1 - m);
  const std::span<const float> above_zero = losses.above_zero;
  for (size_t begin = 0; begin < above_zero.size(); begin += kFactors) {
    for (const float loss : above_zero.subspan(begin, std::min(kFactors, above_zero.size() - begin))) {
      const double gain = std::max((m - loss) * scale, -1.0);  // rounding must not make a factor negative
      for (size_t i = 0; i < kShares.size(); ++i) capital[i] *= 1 + kShares[i] * gain;
    }
    for (size_t i = 0; i < kShares.size(); ++i) {
      int shift = 0;
      capital[i] = std::frexp(capital[i], &shift);
      exponent[i] += shift;
    }
  }
  std::array<double, kShares.size()> logs;
  for (size_t i = 0; i < kShares.size(); ++i) {
    logs[i] = std::log(capital[i]) + static_cast<double>(exponent[i]) * M_LN2 +
              losses.n_zero() * std::log1p(kShares[i] * m * scale);
  }
  const double most = *std::max_element(logs.begin(), logs.end());  // finite: a share below 1 is never ruined
  double sum = 0;
  for (const double log : logs) sum += std::exp(log - most);
  return most + std::log(sum);
}

// The capital's logarithm where n losses are all the same.
double log_capital_of_equal(double loss, double n, double m) {
  double most = -INFINITY, sum = 0;
  std::array<double, kShares.size()> logs;
  for (size_t i = 0; i < kShares.size(); ++i) {
    logs[i] = std::log(kWeights[i]) + n * std::log1p(kShares[i] * (m - loss) / (1 - m));
    most = std::max(most, logs[i]);
  }
  for (const double log : logs) sum += std::exp(log - most);
  return most + std::log(sum);
}

// The fewest equal losses below m with which the capital reaches 1 / delta: it grows with their number.
int64_t pieces_to_win(double m, double delta, double loss) {
  const auto wins = [&](int64_t n) {
    return log_capital_of_equal(loss, static_cast<double>(n), m) >= -std::log(delta);
  };
  int64_t enough = 1;
  while (!wins(enough)) {
    if (enough > int64_t{1} << 60) return kNoPiecesSuffice;
    enough *= 2;
  }
  int64_t too_few = enough / 2;
  while (enough - too_few > 1) {
    const int64_t middle = too_few + (enough - too_few) / 2;
    (wins(middle) ? enough : too_few) = middle;
  }
  return enough;
}

double betting_p_value(const Losses& losses, double m) { return std::exp(-std::max(log_capital(losses, m), 0.0)); }

// The smaller of two bounds of P(mean of n losses <= the observed one | true mean m): both are monotone in the same
// statistic, so the smaller is a p-value.
double hoeffding_bentkus_p_value(const Losses& losses, double m) {
  const auto n = static_cast<double>(losses.n);
  const double a = std::min(losses.sum / n, m);
  const double kl = (a > 0 ? a * std::log(a / m) : 0) + (1 - a) * (std::log1p(-a) - std::log1p(-m));
  const double hoeffding = std::exp(-n * std::max(kl, 0.0));
  const double bentkus = M_E * binomial_p_value(static_cast<int64_t>(std::ceil(losses.sum)), losses.n, m);
  return std::min({1.0, hoeffding, bentkus});
}

double p_value_of(const Losses& losses, double risk, Bound bound) {
  if (losses.n == 0) return 1;
  if (bound == Bound::binomial) return binomial_p_value(static_cast<int64_t>(losses.sum), losses.n, risk);
  if (bound == Bound::hoeffding_bentkus) return hoeffding_bentkus_p_value(losses, risk);
  return betting_p_value(losses, risk);
}

}  // namespace

std::string_view name(Bound bound) {
  switch (bound) {
    case Bound::binomial:
      return "binomial";
    case Bound::betting:
      return "betting";
    case Bound::hoeffding_bentkus:
      return "hoeffding_bentkus";
  }
  return "unknown";
}

double binomial_p_value(int64_t errors, int64_t n, double risk) {
  if (errors < 0 || errors >= n || !inside(risk)) return 1;
  return boost::math::ibetac(static_cast<double>(errors + 1), static_cast<double>(n - errors), risk, InDoubles());
}

double binomial_upper(int64_t errors, int64_t n, double delta) {
  if (errors < 0 || errors >= n || !inside(delta)) return 1;
  return boost::math::ibetac_inv(static_cast<double>(errors + 1), static_cast<double>(n - errors), delta, InDoubles());
}

Result<double> mean_p_value(std::span<const float> losses, double risk, Bound bound) {
  if (!inside(risk)) return out_of_range("risk", risk);
  FATHOM_TRY(const Losses all, read(losses, bound));
  return p_value_of(all, risk, bound);
}

Result<double> mean_upper(std::span<const float> losses, double delta, Bound bound) {
  if (!inside(delta)) return out_of_range("delta", delta);
  FATHOM_TRY(const Losses all, read(losses, bound));
  if (all.n == 0) return 1;
  if (bound == Bound::binomial) return binomial_upper(static_cast<int64_t>(all.sum), all.n, delta);
  // p is 1 at the observed mean (betting: a geometric mean is no larger than the arithmetic one) and falls from there.
  double kept = all.sum / static_cast<double>(all.n), rejected = 1;
  for (int i = 0; i < 40; ++i) {
    const double middle = kept + (rejected - kept) / 2;
    if (!inside(middle)) break;
    (p_value_of(all, middle, bound) <= delta ? rejected : kept) = middle;
  }
  return rejected;
}

int64_t pieces_needed(double risk, double delta, double mean, Bound bound) {
  if (!inside(risk) || !inside(delta) || !(mean >= 0 && mean < risk)) return kNoPiecesSuffice;
  if (bound == Bound::betting) return pieces_to_win(risk, delta, mean);
  const double unseen = std::log1p(-risk) - std::log1p(-mean);  // log of the chance that one piece shows nothing
  const double pieces = std::ceil(std::log(delta) / unseen);
  return pieces < 9e18 ? static_cast<int64_t>(pieces) : kNoPiecesSuffice;
}

}  // namespace fathom
