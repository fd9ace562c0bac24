// The sampler against a naive one that sorts everything, and its distribution against the softmax.
#include "fathom/sample/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "fathom/sample/noise.h"

namespace fathom {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> normal_logits(int n, uint32_t seed, float spread) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> draw(0, spread);
  std::vector<float> logits(n);
  for (float& x : logits) x = draw(bits);
  return logits;
}

// The specification: sort, normalise in double precision, cut in order.
std::vector<int32_t> naive_survivors(const std::vector<float>& logits, const SampleOptions& o) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::erase_if(ids, [&](int32_t i) { return !(logits[i] > -kInf); });
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (o.top_k > 0 && static_cast<size_t>(o.top_k) < ids.size()) ids.resize(o.top_k);
  std::vector<double> mass;
  for (int32_t i : ids) mass.push_back(std::exp((double(logits[i]) - logits[ids[0]]) / o.temperature));
  const double total = std::accumulate(mass.begin(), mass.end(), 0.0);
  size_t kept = ids.size();
  double sum = 0;
  for (size_t i = 0; o.top_p < 1 && i < ids.size(); ++i) {
    sum += mass[i];
    if (sum >= o.top_p * total) {
      kept = i + 1;
      break;
    }
  }
  while (kept > 0 && mass[kept - 1] < o.min_p) --kept;
  ids.resize(kept);
  return ids;
}

int32_t naive_sample(const std::vector<float>& logits, const SampleOptions& o, int64_t sequence, int64_t position) {
  int32_t best = -1;
  double best_score = -kInf;
  const NoiseKey key = noise_key(o.seed, sequence, position);
  for (int32_t id : naive_survivors(logits, o)) {
    const double score = logits[id] / double(o.temperature) + gumbel_noise(key, id);
    if (score > best_score || (score == best_score && id < best)) {
      best_score = score;
      best = id;
    }
  }
  return best;
}

// Chi-square of counts against probabilities; for the degrees of freedom used here the 1e-6 quantile of the
// distribution is below df + 4.9 * sqrt(2 df) + 16 (Laurent and Massart 2000, lemma 1, with x = 13.8).
void expect_distribution(const std::vector<int>& counts, const std::vector<double>& p, int draws) {
  double chi2 = 0;
  int df = -1;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " has probability 0";
      continue;
    }
    const double expected = p[i] * draws;
    chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++df;
  }
  EXPECT_LT(chi2, df + 2 * std::sqrt(df * 13.8) + 2 * 13.8);
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  for (float x : logits) p.push_back(std::exp(x / temperature));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= total;
  return p;
}

TEST(Sampler, GreedyTakesTheLargestLogitAndTheLowerIdOfTies) {
  EXPECT_EQ(fathom::sample(std::vector<float>{0, 3, 1, 3}, {}, 0, 0), 1);
  std::vector<float> wide = normal_logits(1000, 1, 1);
  wide[700] = wide[900] = 50;
  EXPECT_EQ(fathom::sample(wide, {}, 0, 0), 700);
}

TEST(Sampler, DrawsOverPositionsFollowTheSoftmax) {
  const std::vector<float> logits = {1.0f, -0.5f, 2.0f, 0.0f, 0.3f, -1.0f, 1.5f, -2.0f};
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    std::vector<int> counts(logits.size());
    const SampleOptions o{.temperature = temperature, .seed = 7};
    for (int position = 0; position < 100000; ++position) ++counts[fathom::sample(logits, o, 0, position)];
    expect_distribution(counts, softmax(logits, temperature), 100000);
  }
}

TEST(Sampler, DrawsOverSequencesAndSeedsFollowTheSoftmax) {
  const std::vector<float> logits = {0.2f, -0.5f, 1.0f, 0.0f};
  std::vector<int> by_sequence(4), by_seed(4);
  for (int i = 0; i < 100000; ++i) {
    ++by_sequence[fathom::sample(logits, {.temperature = 1}, i, 5)];
    ++by_seed[fathom::sample(logits, {.temperature = 1, .seed = static_cast<uint64_t>(i)}, 0, 5)];
  }
  expect_distribution(by_sequence, softmax(logits, 1), 100000);
  expect_distribution(by_seed, softmax(logits, 1), 100000);
}

TEST(Sampler, NeighbouringPositionsAreIndependent) {
  const std::vector<float> logits = {0, 0, 0};
  std::vector<int> pairs(9);
  int32_t last = fathom::sample(logits, {.temperature = 1}, 0, 0);
  for (int position = 1; position <= 90000; ++position) {
    const int32_t next = fathom::sample(logits, {.temperature = 1}, 0, position);
    ++pairs[last * 3 + next];
    last = next;
  }
  expect_distribution(pairs, std::vector<double>(9, 1.0 / 9), 90000);
}

TEST(Sampler, ADrawFromTruncatedLogitsFollowsTheRenormalisedSoftmax) {
  const std::vector<float> logits = {1.0f, -0.5f, 2.0f, 0.0f, 0.3f, -1.0f, 1.5f, -2.0f};
  const SampleOptions o{.temperature = 0.8f, .top_k = 4};
  std::vector<int> counts(logits.size());
  for (int position = 0; position < 50000; ++position) ++counts[fathom::sample(logits, o, 3, position)];
  std::vector<double> p(logits.size());
  const auto all = softmax(logits, 0.8f);
  double total = 0;
  for (int32_t id : {2, 6, 0, 4}) total += all[id];
  for (int32_t id : {2, 6, 0, 4}) p[id] = all[id] / total;
  expect_distribution(counts, p, 50000);
}

TEST(Sampler, TheFastArgmaxOverAWholeVocabularyIsTheNaiveOne) {
  for (int n : {1, 15, 64, 65, 1000, 20000}) {
    for (float spread : {0.0f, 0.5f, 4.0f}) {
      const auto logits = normal_logits(n, n, spread);
      for (int position = 0; position < 20; ++position) {
        for (float temperature : {0.01f, 0.7f, 1.0f, 30.0f}) {
          const SampleOptions o{.temperature = temperature, .seed = 11};
          ASSERT_EQ(fathom::sample(logits, o, 2, position), naive_sample(logits, o, 2, position))
              << n << " logits of spread " << spread << " at position " << position << ", T " << temperature;
        }
      }
    }
  }
}

TEST(Sampler, TruncationKeepsExactlyWhatSortingEverythingKeeps) {
  for (int n : {1, 63, 64, 500, 20000}) {
    for (float spread : {0.3f, 2.0f, 6.0f}) {
      auto logits = normal_logits(n, 3 * n, spread);
      for (int i = 5; i < n; i += 7) logits[i] = logits[i - 1];  // ties
      for (const SampleOptions& o :
           {SampleOptions{.temperature = 1, .top_k = 1}, SampleOptions{.temperature = 1, .top_k = 40},
            SampleOptions{.temperature = 1, .top_k = 700}, SampleOptions{.temperature = 0.6f, .top_p = 0.9f},
            SampleOptions{.temperature = 1, .top_p = 0.37f}, SampleOptions{.temperature = 2, .top_p = 0.999f},
            SampleOptions{.temperature = 1, .min_p = 0.05f},
            SampleOptions{.temperature = 1.3f, .top_k = 50, .top_p = 0.8f},
            SampleOptions{.temperature = 0.9f, .top_p = 0.95f, .min_p = 0.1f},
            SampleOptions{.temperature = 0.9f, .top_k = 20, .top_p = 0.95f, .min_p = 0.02f}}) {
        ASSERT_EQ(survivors(logits, o), naive_survivors(logits, o))
            << n << " logits of spread " << spread << ", T " << o.temperature << " k " << o.top_k << " p " << o.top_p
            << " min " << o.min_p;
        ASSERT_EQ(fathom::sample(logits, o, 1, 9), naive_sample(logits, o, 1, 9));
      }
    }
  }
}

TEST(Sampler, BiasComesBeforePenaltiesAndPenaltiesBeforeTruncation) {
  // (-1 + 5) / 2 = 2 loses against 2.5; penalised first, -1 * 2 + 5 = 3 would win.
  const std::vector<float> logits = {-1, 2.5f, 0.5f};
  EXPECT_EQ(fathom::sample(logits, {.repeat_penalty = 2, .bias = {{0, 5}}}, 0, 0, std::vector<int32_t>{0}), 1);
  const SampleOptions truncated{.temperature = 1, .top_k = 1, .presence_penalty = 3, .penalty_last = -1};
  EXPECT_EQ(survivors(logits, truncated, std::vector<int32_t>{1}), std::vector<int32_t>{2});
}

TEST(Sampler, TemperatureComesBeforeTopPAndMinP) {
  const std::vector<float> logits = {2, 1, 0};
  const SampleOptions cold{.temperature = 0.2f, .top_p = 0.9f};
  const SampleOptions hot{.temperature = 5, .top_p = 0.9f};
  EXPECT_EQ(survivors(logits, cold), std::vector<int32_t>({0}));
  EXPECT_EQ(survivors(logits, hot), std::vector<int32_t>({0, 1, 2}));
  EXPECT_EQ(survivors(logits, {.temperature = 0.2f, .min_p = 0.5f}), std::vector<int32_t>({0}));
  EXPECT_EQ(survivors(logits, {.temperature = 5, .min_p = 0.5f}), std::vector<int32_t>({0, 1, 2}));
}

TEST(Sampler, TopPRenormalisesOverWhatTopKKept) {
  // softmax .6 .2 .1 .1: of the two best, token 0 holds .75, so top_p = .7 keeps it alone; of all it would hold .6.
  const std::vector<float> logits = {std::log(6.f), std::log(2.f), 0, 0};
  EXPECT_EQ(survivors(logits, {.temperature = 1, .top_k = 2, .top_p = 0.7f}), std::vector<int32_t>({0}));
  EXPECT_EQ(survivors(logits, {.temperature = 1, .top_p = 0.7f}), std::vector<int32_t>({0, 1}));
}

TEST(Sampler, PenaltiesCountOnlyTheLatestTokensAndEachOccurrence) {
  const std::vector<float> logits = {1.0f, 0.9f, 0.5f};
  const std::vector<int32_t> history = {2, 1, 0, 0};
  const auto of_latest = [&](int32_t n) {
    return fathom::sample(logits, {.presence_penalty = 1, .penalty_last = n}, 0, 0, history);
  };
  EXPECT_EQ(of_latest(0), 0);
  EXPECT_EQ(of_latest(1), 1);  // 0, 0.9, 0.5
  EXPECT_EQ(of_latest(2), 1);
  EXPECT_EQ(of_latest(3), 2);   // 0, -0.1, 0.5
  EXPECT_EQ(of_latest(4), 0);   // 0, -0.1, -0.5
  EXPECT_EQ(of_latest(9), 0);   // more than there are
  EXPECT_EQ(of_latest(-1), 0);  // all
  const std::vector<int32_t> twice = {0, 0, 1};
  EXPECT_EQ(fathom::sample(logits, {.frequency_penalty = 0.3f, .penalty_last = -1}, 0, 0, twice), 1);  // 0.4, 0.6, 0.5
  const std::vector<int32_t> strange = {-5, 99, 0};
  EXPECT_EQ(fathom::sample(logits, {.presence_penalty = 1}, 0, 0, strange), 1);
}

TEST(Sampler, ARepeatPenaltyLowersALogitOfEitherSign) {
  const std::vector<int32_t> history = {0};
  const auto winner = [&](std::vector<float> logits) {
    return fathom::sample(logits, {.repeat_penalty = 2}, 0, 0, history);
  };
  EXPECT_EQ(winner({2, 1.5f}), 1);    // 1, 1.5
  EXPECT_EQ(winner({2, 0.5f}), 0);    // 1, 0.5
  EXPECT_EQ(winner({-1, -1.5f}), 1);  // -2, -1.5
  EXPECT_EQ(winner({-1, -2.5f}), 0);  // -2, -2.5
}

TEST(Sampler, NanCountsAsMinusInfinityAndNothingLeftIsMinusOne) {
  for (float temperature : {0.0f, 1.0f}) {
    const SampleOptions o{.temperature = temperature};
    EXPECT_EQ(fathom::sample(std::vector<float>{kNan, 1, kNan}, o, 0, 0), 1);
    EXPECT_EQ(fathom::sample(std::vector<float>{-kInf, kNan}, o, 0, 0), -1);
    EXPECT_EQ(fathom::sample(std::vector<float>{}, o, 0, 0), -1);
    EXPECT_EQ(fathom::sample(std::vector<float>{0, kInf, kInf}, o, 0, 0), 1);
    EXPECT_EQ(fathom::sample(std::vector<float>{3, 1}, {.temperature = temperature, .bias = {{0, -kInf}}}, 0, 0), 1);
  }
  EXPECT_EQ(fathom::sample(std::vector<float>{kNan, 1, kNan}, {.temperature = 1, .top_k = 2, .top_p = 0.5f}, 0, 0), 1);
}

TEST(Sampler, TemperaturesOfAnySizeAreOrdered) {
  const std::vector<float> logits = {1, 2, 1.5f};
  for (float tiny : {1e-45f, 1e-30f, 1e-6f}) {
    for (int position = 0; position < 50; ++position)
      EXPECT_EQ(fathom::sample(logits, {.temperature = tiny}, 0, position), 1);
  }
  std::vector<int> counts(3);
  for (int position = 0; position < 30000; ++position)
    ++counts[fathom::sample(logits, {.temperature = 3e38f}, 0, position)];
  expect_distribution(counts, {1.0 / 3, 1.0 / 3, 1.0 / 3}, 30000);
}

TEST(Noise, IsBoundedAndItsCheapBoundIsNeverBelowIt) {
  EXPECT_GE(noise_from_bits(0), kNoiseMin);
  EXPECT_LE(noise_from_bits(0xffffffffu), kNoiseMax);
  std::mt19937 bits(5);
  auto check_one = [](uint32_t b) {
    const double noise = noise_from_bits(b);
    ASSERT_GE(noise_bound(b), noise) << b;
    if (noise > 3 && b < 0xffff0000u) {
      ASSERT_LE(noise_bound(b), noise + 0.09) << b;
    }
  };
  for (int i = 0; i < 200000; ++i) check_one(bits());
  for (uint32_t i = 0; i < 70000; ++i) check_one(0xffffffffu - i), check_one(i);
}

TEST(SampleOptions, OutOfRangeValuesAreNamedWithTheirRange) {
  EXPECT_TRUE(check({}, 10));
  EXPECT_TRUE(check({.temperature = 0.7f, .top_k = 40, .top_p = 0.9f, .min_p = 0.05f, .bias = {{9, -kInf}}}, 10));
  const std::pair<SampleOptions, const char*> bad[] = {{{.temperature = kNan}, "temperature nan"},
                                                       {{.temperature = -1}, "temperature -1"},
                                                       {{.temperature = kInf}, "temperature inf"},
                                                       {{.top_k = -1}, "top_k -1"},
                                                       {{.top_p = 0}, "top_p 0"},
                                                       {{.top_p = 1.5f}, "top_p 1.5"},
                                                       {{.top_p = kNan}, "top_p nan"},
                                                       {{.min_p = -0.1f}, "min_p -0.1"},
                                                       {{.repeat_penalty = 0}, "repeat_penalty 0"},
                                                       {{.presence_penalty = kNan}, "presence_penalty nan"},
                                                       {{.frequency_penalty = kInf}, "frequency_penalty inf"},
                                                       {{.penalty_last = -2}, "penalty_last -2"},
                                                       {{.bias = {{10, 1}}}, "bias token 10"},
                                                       {{.bias = {{0, kNan}}}, "bias nan"}};
  for (const auto& [options, start] : bad) {
    const auto result = check(options, 10);
    ASSERT_FALSE(result) << start;
    EXPECT_EQ(result.error().message.rfind(start, 0), 0u) << result.error().message;
    EXPECT_EQ(result.error().code, ErrorCode::argument);
  }
}

}  // namespace
}  // namespace fathom
