// screen_checks: what a shortlist may say, what the whole head has to confirm, and what either costs.
// Next: tests/engine/accounting_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/support/compare.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;
using testing::same_bits;

constexpr int32_t kVocab = 384, kLayers = 5;

// Writes down what rows are told of their own answers, and lets them run.
struct hear_answers {
  std::vector<Step>* seen;
  static constexpr StageTraits traits{"hear_answers", StageKind::limit,
                                      SignalSet(Signal::exit_confidence) | Signal::exit_margin | Signal::exit_entropy};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    seen->push_back(step);
    return decision;
  }
};

struct Checked {
  Model model = testing::tiny_model({.n_layers = kLayers, .vocab = kVocab});
  std::vector<int32_t> ids = random_ids(12, kVocab, 5);
  Session session = Session::make(model, {.max_tokens = 64, .max_rows = 32, .max_logit_rows = 16}).value();

  Outcome run(const Policy& policy, int32_t chunk = 12) {
    return testing::run(session, ids, {.chunk = chunk, .kind = RowKind::generated, .policy = policy.ref()});
  }
  std::span<const float> logits(const Outcome& out, size_t row) const {
    return std::span(out.logits).subspan(row * kVocab, kVocab);
  }
  // Exits that change nothing but the shortlist.
  void list(std::vector<int32_t> tokens) {
    session.use(ExitHeads::make(model, {.groups = {}, .exits = {}, .shortlist = std::move(tokens)}).value()).value();
  }
};

float confidence(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float v : logits) sum += std::exp(double(v) - double(top));
  return float(1 / sum);
}

// Thresholds at which about half of the rows leave early.
float middle_threshold(Checked& c) {
  std::vector<Step> seen;
  c.run(hear_answers{&seen});
  std::vector<float> all;
  for (const Step& step : seen) {
    if (step.layer > 0) all.push_back(step[Signal::exit_confidence]);
  }
  std::sort(all.begin(), all.end());
  return all[all.size() * 3 / 4];
}

TEST(ScreenedChecks, AListOfAllTokensDecidesAsNoListDoes) {
  Checked c;
  const exit_when exit{.confidence_at_least = middle_threshold(c)};
  const Outcome plain = c.run(exit), screened = c.run(exit | screen_checks{.tokens = kVocab});
  for (size_t r = 0; r < plain.rows.size(); ++r) EXPECT_EQ(screened.rows[r].depth, plain.rows[r].depth) << r;
  EXPECT_TRUE(same_bits(std::span<const float>(screened.logits), std::span<const float>(plain.logits)));
}

TEST(ScreenedChecks, ARowThatLeavesHasPassedByTheWholeHead) {
  Checked c;
  for (const float threshold : {0.004f, 0.01f, middle_threshold(c)}) {
    const exit_when exit{.confidence_at_least = threshold};
    const Outcome plain = c.run(exit), screened = c.run(exit | screen_checks{.tokens = 64});
    int left = 0;
    for (size_t r = 0; r < c.ids.size(); ++r) {
      const auto depth = screened.rows[r].depth;
      if (depth == kLayers) continue;
      ++left;
      EXPECT_GE(confidence(c.logits(screened, r)), threshold * (1 - 1e-5f)) << "row " << r;
      EXPECT_GE(depth, plain.rows[r].depth) << "row " << r << " left by the shortlist's word";
    }
    EXPECT_GT(left, 0) << threshold;
  }
}

TEST(ScreenedChecks, SignalsOfARowThatStaysAreThoseOfTheListedTokens) {
  Checked c;
  for (const int32_t first : {100, 200}) {  // the second is used in place of the first
    std::vector<int32_t> tokens(40);
    std::iota(tokens.begin(), tokens.end(), first);
    c.list(tokens);
    std::vector<Step> heard;
    c.run(hear_answers{&heard} | screen_checks{.tokens = 40});
    for (int32_t layer = 1; layer < kLayers; ++layer) {
      const Outcome whole = c.run(exit_at{.layer = layer});
      for (const Step& step : heard) {
        if (step.layer != layer) continue;
        const auto listed = c.logits(whole, size_t(step.position)).subspan(size_t(first), 40);
        EXPECT_NEAR(step[Signal::exit_confidence], confidence(listed), 1e-4f) << "layer " << layer;
      }
    }
  }
}

TEST(ScreenedChecks, AFailedCheckCostsItsShareOfTheHead) {
  Checked c;
  const exit_when never{.confidence_at_least = 1.0f};
  const Outcome full = c.run(Policy()), whole = c.run(never), screened = c.run(never | screen_checks{.tokens = 48});
  const double head = double(kVocab) * c.model.config().d_model;
  for (size_t r = 0; r < c.ids.size(); ++r) {
    EXPECT_EQ(screened.rows[r].depth, kLayers);
    EXPECT_NEAR(whole.rows[r].macs - full.rows[r].macs, (kLayers - 1) * head, 1) << r;
    EXPECT_NEAR(screened.rows[r].macs - full.rows[r].macs, (kLayers - 1) * head * 48 / kVocab, 1) << r;
  }
  EXPECT_TRUE(same_bits(std::span<const float>(screened.logits), std::span<const float>(full.logits)));
}

TEST(ScreenedChecks, AConfirmedCheckIsPaidOnTop) {
  Checked c;
  const exit_when always{.confidence_at_least = 0.0f, .from_layer = 2};
  const Outcome plain = c.run(always), screened = c.run(always | screen_checks{.tokens = 48});
  for (size_t r = 0; r < c.ids.size(); ++r) {
    EXPECT_EQ(screened.rows[r].depth, 2);
    EXPECT_NEAR(screened.rows[r].macs - plain.rows[r].macs, 48.0 * c.model.config().d_model, 1) << r;
  }
  EXPECT_TRUE(same_bits(std::span<const float>(screened.logits), std::span<const float>(plain.logits)));
}

TEST(ScreenedChecks, HangOnNoOtherRowOfTheStep) {
  Checked c;
  const Policy policy = exit_when{.confidence_at_least = middle_threshold(c)} | screen_checks{.tokens = 64};
  const Outcome together = c.run(policy), alone = c.run(policy, 1);
  for (size_t r = 0; r < c.ids.size(); ++r) EXPECT_EQ(together.rows[r].depth, alone.rows[r].depth) << r;
  EXPECT_TRUE(same_bits(std::span<const float>(together.logits), std::span<const float>(alone.logits)));
  // Nor on the texts before: the list follows none.
  const std::vector<int32_t> ids = std::exchange(c.ids, random_ids(12, kVocab, 77));
  c.run(policy);
  c.ids = ids;
  EXPECT_TRUE(same_bits(std::span<const float>(c.run(policy).logits), std::span<const float>(together.logits)));
}

TEST(ScreenedChecks, AListOutsideTheVocabularyIsRefused) {
  Checked c;
  const auto wrong = ExitHeads::make(c.model, {.groups = {}, .exits = {}, .shortlist = {kVocab}});
  ASSERT_FALSE(wrong.has_value());
  EXPECT_NE(wrong.error().message.find("token 384 is outside the vocabulary"), std::string::npos);
}

}  // namespace
}  // namespace fathom
