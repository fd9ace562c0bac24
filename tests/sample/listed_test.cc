// Rows of listed tokens are whole rows in which the others are -infinity; largest() against sorting.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "fathom/sample/sampler.h"

namespace fathom {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(ListedRow, ChoosesAsTheWholeRowInWhichTheOthersAreForbidden) {
  std::mt19937_64 random(7);
  std::normal_distribution<float> draw(0, 3);
  const auto below = [&](int n) { return static_cast<int32_t>(random() % static_cast<uint64_t>(n)); };
  for (int round = 0; round < 400; ++round) {
    const int32_t vocab = 100 + below(900), n = 1 + below(std::min(vocab, 300));
    std::vector<int32_t> tokens(static_cast<size_t>(vocab));
    std::iota(tokens.begin(), tokens.end(), 0);
    std::shuffle(tokens.begin(), tokens.end(), random);
    tokens.resize(static_cast<size_t>(n));
    std::vector<float> listed, whole(static_cast<size_t>(vocab), -kInf);
    for (const int32_t token : tokens) {
      listed.push_back(round % 5 == 0 ? static_cast<float>(below(3)) : draw(random));  // ties in every fifth
      whole[static_cast<size_t>(token)] = listed.back();
    }
    std::vector<int32_t> history;
    for (int i = 0; i < 30; ++i) history.push_back(below(vocab));
    SampleOptions o{.temperature = round % 3 == 0 ? 0 : 0.2f + 0.1f * static_cast<float>(below(12)), .seed = random()};
    if (round % 4 == 1) o.top_k = 1 + below(50);
    if (round % 4 == 2) o.top_p = 0.3f + 0.01f * static_cast<float>(below(70));
    if (round % 7 == 3) o.min_p = 0.05f;
    if (round % 2 == 0) o.repeat_penalty = 1.3f, o.frequency_penalty = 0.2f;
    if (round % 6 == 0) o.bias = {{below(vocab), 4}, {tokens[0], -kInf}};
    EXPECT_EQ(sample(LogitRow{listed, tokens}, o, round, 5, history), sample(whole, o, round, 5, history))
        << "round " << round;
  }
}

TEST(ListedRow, OfNothingChoosesNothing) {
  const std::vector<float> logits{-kInf, -kInf};
  const std::vector<int32_t> tokens{5, 3};
  EXPECT_EQ(sample(LogitRow{logits, tokens}, {}, 0, 0), -1);
}

TEST(Largest, AreThoseThatSortingPutsFirst) {
  std::mt19937 random(3);
  std::normal_distribution<float> draw(0, 2);
  for (const int n : {1, 5, 63, 64, 65, 1000, 5000}) {
    std::vector<float> logits(static_cast<size_t>(n));
    for (float& x : logits) x = draw(random);
    if (n > 60) logits[7] = std::numeric_limits<float>::quiet_NaN(), logits[9] = -kInf;
    for (const int want : {0, 1, 2, 16, 128, 6000}) {
      std::vector<int32_t> got(static_cast<size_t>(want)), sorted;
      for (int32_t i = 0; i < n; ++i) {
        if (logits[static_cast<size_t>(i)] > -kInf) sorted.push_back(i);
      }
      std::sort(sorted.begin(), sorted.end(),
                [&](int32_t a, int32_t b) { return logits[size_t(a)] > logits[size_t(b)]; });
      sorted.resize(std::min(sorted.size(), got.size()));
      got.resize(static_cast<size_t>(largest(logits, got)));
      std::sort(got.begin(), got.end());
      std::sort(sorted.begin(), sorted.end());
      EXPECT_EQ(got, sorted) << want << " of " << n;
    }
  }
}

}  // namespace
}  // namespace fathom
