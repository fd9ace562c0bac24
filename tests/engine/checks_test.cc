// Exit checks: whose logits a row keeps, more checks than there is room for answers, and policies nobody asks.
// Next: tests/engine/accounting_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/abi.h"
#include "tests/support/compare.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;
using testing::same_bits;

// Takes back every saving before a layer, as min_depth does, but lets the checks be made.
struct stay_until {
  int32_t layer = 0;
  static constexpr StageTraits traits{"stay_until", StageKind::limit};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer < layer) decision.verdict = Verdict::run;
    return decision;
  }
};

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

// Writes down what it sees and reads nothing.
struct see {
  std::vector<Step>* seen;
  static constexpr StageTraits traits{"see", StageKind::limit};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    seen->push_back(step);
    return decision;
  }
};

std::span<const float> all(const Outcome& out) { return out.logits; }

// A prompt of full depth and one generated row after it.
RowResult last_row(Session& s, std::span<const int32_t> ids, PolicyRef policy, std::vector<float>* logits = nullptr) {
  s.truncate(0, 0).value();
  std::vector<Row> rows;
  for (size_t p = 0; p < ids.size(); ++p) rows.push_back({.token = ids[p], .position = static_cast<int32_t>(p)});
  rows.back().kind = RowKind::generated;
  rows.back().logits = true;
  const StepResult out = s.step(rows, policy).value();
  if (logits != nullptr) logits->assign(out.logits.data(), out.logits.data() + out.logits.size());
  return out.rows.back();
}

TEST(Checks, AnExitThatALimitTakesBackLeavesNoStaleLogits) {
  const Model model = testing::tiny_model({.n_layers = 5});
  const auto ids = random_ids(8, model.config().vocab, 3);
  Session s = Session::make(model, {.max_tokens = 64, .max_rows = 16, .max_logit_rows = 16}).value();
  const Outcome full = testing::run(s, ids, {.chunk = 8});
  const Policy restored = Policy::parse("exit_when(confidence_at_least=0) | min_depth(layers=5)").value();
  const Policy checked = exit_when{.confidence_at_least = 0.0f} | stay_until{.layer = 5};
  for (const Policy& policy : {restored, checked}) {
    SCOPED_TRACE(policy.text());
    std::vector<double> work;  // of the rows one at a time
    for (const int32_t chunk : {1, 8}) {
      const Outcome out = testing::run(s, ids, {.chunk = chunk, .kind = RowKind::generated, .policy = policy.ref()});
      for (size_t p = 0; p < out.rows.size(); ++p) {
        EXPECT_EQ(out.rows[p].depth, 5);
        if (chunk == 1) work.push_back(out.rows[p].work());
        EXPECT_EQ(out.rows[p].work(), work[p]) << "position " << p;
      }
      EXPECT_TRUE(same_bits(all(out), all(full)));
    }
  }
}

TEST(Checks, ARowAnswersFromTheLayerItLeavesAtNotFromItsFirstCheck) {
  const Model model = testing::tiny_model({.n_layers = 5});
  const auto ids = random_ids(8, model.config().vocab, 3);
  Session s = Session::make(model, {.max_tokens = 64, .max_rows = 16, .max_logit_rows = 16}).value();
  const Policy late = exit_when{.confidence_at_least = 0.0f} | stay_until{.layer = 3};
  const Policy between =
      exit_when{.confidence_at_least = 0.0f, .every = 4} | stay_until{.layer = 2} | max_depth{.layers = 3};
  const Policy three = exit_at{.layer = 3};
  const Outcome expected = testing::run(s, ids, {.chunk = 8, .kind = RowKind::generated, .policy = three.ref()});
  for (const Policy& policy : {late, between}) {
    SCOPED_TRACE(policy.text());
    const Outcome out = testing::run(s, ids, {.chunk = 8, .kind = RowKind::generated, .policy = policy.ref()});
    EXPECT_TRUE(same_bits(all(out), all(expected)));
  }
}

TEST(Checks, TellARowTheTopTheMarginAndTheEntropyOfTheAnswerItWouldGive) {
  const Model model = testing::tiny_model({.n_layers = 5, .vocab = 128, .tokenizer = testing::TinyVocab::none});
  const auto ids = random_ids(8, 128, 3);
  Session s = Session::make(model, {.max_tokens = 64, .max_rows = 16, .max_logit_rows = 16}).value();
  std::vector<Step> seen;
  const Policy hears = hear_answers{&seen};
  last_row(s, ids, hears.ref());
  size_t checked = 0;
  for (const Step& step : seen) {
    if (step.kind == RowKind::prompt || step.layer == 0) continue;
    ++checked;
    SCOPED_TRACE(step.layer);
    std::vector<float> logits;
    const Policy leaves = exit_at{.layer = step.layer};
    last_row(s, ids, leaves.ref(), &logits);
    ASSERT_EQ(logits.size(), 128u);
    double sum = 0, entropy = 0;
    for (float x : logits) sum += std::exp(double(x));
    for (float x : logits) entropy -= std::exp(double(x)) / sum * (double(x) - std::log(sum));
    std::nth_element(logits.begin(), logits.begin() + 1, logits.end(), std::greater<>());
    const double first = std::exp(double(logits[0])) / sum, second = std::exp(double(logits[1])) / sum;
    // log_sum is a float of about 5 from single-precision exponentials: 1e-6 of it, and so of a probability below 1.
    EXPECT_GT(second, 100 * 5e-6) << "a second too small to be missed";
    EXPECT_NEAR(step[Signal::exit_confidence], first, 5e-6);
    EXPECT_NEAR(step[Signal::exit_margin], first - second, 5e-6);
    EXPECT_NEAR(step[Signal::exit_entropy], entropy, 2e-5);
  }
  EXPECT_EQ(checked, 4u);
}

TEST(Checks, WhatARowIsToldItWouldSpendIsWhatItSpends) {
  const Model model = testing::tiny_model({.n_layers = 5});
  const auto ids = random_ids(8, model.config().vocab, 3);
  Session s = Session::make(model, {.max_tokens = 64, .max_rows = 16, .max_logit_rows = 16}).value();
  for (int32_t layer = 1; layer < 5; ++layer) {
    SCOPED_TRACE(layer);
    std::vector<Step> seen;
    const exit_when sure{.confidence_at_least = 0.0f};
    const exit_when sure_late{.confidence_at_least = 0.0f, .from_layer = layer};
    const Policy unchecked = exit_at{.layer = layer} | see{&seen};
    const Policy checked_once = sure_late | see{&seen};
    const Policy checked_always = sure | stay_until{.layer = layer} | see{&seen};
    float spent[3];
    int i = 0;
    for (const Policy* policy : {&unchecked, &checked_once, &checked_always}) {
      seen.clear();
      const RowResult row = last_row(s, ids, policy->ref());
      ASSERT_EQ(row.depth, static_cast<float>(layer));
      std::erase_if(seen, [](const Step& step) { return step.kind == RowKind::prompt; });
      ASSERT_EQ(std::ssize(seen), layer + 1);
      spent[i] = static_cast<float>(row.work());
      ASSERT_EQ(seen.back().layer, layer);
      EXPECT_FLOAT_EQ(seen.back().work_if_exit, spent[i]) << "case " << i;
      // One more layer, without a check on the way.
      if (i == 0) {
        EXPECT_FLOAT_EQ(seen[static_cast<size_t>(layer - 1)].work_if_run, spent[i]);
      }
      ++i;
    }
    EXPECT_EQ(spent[0], spent[1]) << "a check that ends the row is its head";
    EXPECT_EQ(spent[2] > spent[1], layer > 1);
  }
}

// 20 rows are checked in pieces of 4, into memory beside the logits; one of them predicts.
TEST(Checks, MoreCheckedRowsThanAnswersFitDecideAsTheyWouldWithRoom) {
  const Model model = testing::tiny_model({.n_layers = 5});
  const auto ids = random_ids(20, model.config().vocab, 17);
  std::vector<Row> rows;
  for (int32_t p = 0; p < 20; ++p) rows.push_back({.token = ids[size_t(p)], .position = p, .logits = p == 19});
  bool mixed = false;
  for (const char* text : {"exit_when(confidence_at_least=0.012, on=prompt)", "exit_when(entropy_below=5.8, on=prompt)",
                           "patience(agreeing=2, on=prompt)", "exit_when(confidence_at_least=0, on=prompt)",
                           "exit_when(confidence_at_least=1, on=prompt)"}) {
    SCOPED_TRACE(text);
    const Policy policy = Policy::parse(text).value();
    std::vector<RowResult> results[2];
    std::vector<float> logits[2];
    for (const int i : {0, 1}) {
      Session s = Session::make(model, {.max_tokens = 64, .max_rows = 32, .max_logit_rows = i == 0 ? 4 : 64}).value();
      const StepResult out = s.step(rows, policy.ref()).value();
      results[i].assign(out.rows.begin(), out.rows.end());
      logits[i].assign(out.logits.data(), out.logits.data() + out.logits.size());
    }
    for (size_t p = 0; p < 20; ++p) {
      EXPECT_EQ(results[0][p].depth, results[1][p].depth) << "position " << p;
      EXPECT_EQ(results[0][p].macs, results[1][p].macs) << "position " << p;
      EXPECT_EQ(results[0][p].work(), results[1][p].work()) << "position " << p;
      mixed |= results[0][p].depth != results[0][0].depth;
    }
    EXPECT_TRUE(same_bits(std::span<const float>(logits[0]), std::span<const float>(logits[1])));
  }
  EXPECT_TRUE(mixed) << "thresholds that tell no row from another prove nothing";
}

// A table by hand, whose decide and reads count their calls.
struct Counted {
  mutable int decided = 0, read = 0;
  bool full = true;
};
const PolicyTable kCounting = {
    .version = kPolicyTableVersion,
    .decide = [](const void* self, const Step*, Decision*,
                 int32_t) noexcept { ++static_cast<const Counted*>(self)->decided; },
    .reads =
        [](const void* self, int32_t, int32_t, RowKind) noexcept {
          ++static_cast<const Counted*>(self)->read;
          return SignalSet();
        },
    .settings = [](const void*) noexcept { return Settings(); },
    .full_depth = [](const void* self) noexcept { return static_cast<const Counted*>(self)->full; },
    .sequential = [](const void*) noexcept { return false; },
    .text = [](const void*) { return std::string("counted"); },
    .check = [](const void*, int32_t) { return Result<void>(); },
};

TEST(Checks, APolicyOfFullDepthIsNeverAskedToDecide) {
  const Model model = testing::tiny_model({.n_layers = 4});
  const auto ids = random_ids(6, model.config().vocab, 3);
  Session s = Session::make(model, {.max_tokens = 64, .max_rows = 16, .max_logit_rows = 16}).value();
  const Counted full, asked{.full = false};
  testing::run(s, ids, {.chunk = 3, .policy = {.self = &full, .table = &kCounting}});
  EXPECT_EQ(full.decided, 0);
  testing::run(s, ids, {.chunk = 3, .policy = {.self = &asked, .table = &kCounting}});
  EXPECT_EQ(asked.decided, 2 * 4) << "once for each boundary of each step";
}

TEST(Checks, ABatchOfFiveGivesEachRowItsBitsForEveryWeightType) {
  for (int type = 0; type < kDTypes; ++type) {
    SCOPED_TRACE(kDTypeInfo[type].name);
    const Model model = testing::tiny_model({.family = "llama",
                                             .n_layers = 2,
                                             .vocab = 128,
                                             .type = static_cast<DType>(type),
                                             .tokenizer = testing::TinyVocab::none});
    std::vector<std::vector<int32_t>> texts;
    std::vector<Outcome> alone;
    Session s =
        Session::make(model, {.max_tokens = 16, .max_sequences = 5, .max_rows = 8, .max_logit_rows = 8}).value();
    for (uint64_t i = 0; i < 5; ++i) {
      texts.push_back(random_ids(4, 128, 50 + i));
      alone.push_back(testing::run(s, texts.back(), {.chunk = 1}));
    }
    s.truncate(0, 0).value();
    for (int32_t p = 0; p < 4; ++p) {
      std::vector<Row> rows;
      for (int32_t i = 0; i < 5; ++i) {
        rows.push_back({.token = texts[size_t(i)][size_t(p)], .sequence = i, .position = p, .logits = true});
      }
      const StepResult out = s.step(rows).value();
      for (size_t i = 0; i < 5; ++i) {
        const auto found = out.logits[static_cast<int64_t>(i)].flat();
        EXPECT_TRUE(same_bits(std::span<const float>(found), all(alone[i]).subspan(size_t(p) * 128, 128)));
      }
    }
  }
}

}  // namespace
}  // namespace fathom
