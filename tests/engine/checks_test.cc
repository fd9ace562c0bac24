// Exit checks: whose logits a row keeps, more checks than there is room for answers, and policies nobody asks.
// Next: tests/engine/accounting_test.cc.
#include <gtest/gtest.h>

#include <algorithm>

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

std::span<const float> all(const Outcome& out) { return out.logits; }

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
