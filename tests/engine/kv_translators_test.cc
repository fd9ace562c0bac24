// KV translators in the engine: what kv(fill) writes through them, what it costs, and what they leave alone. Next:
// tests/engine/signals_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "fathom/engine/generate.h"
#include "fathom/engine/layer_loop.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;

constexpr int32_t kLayers = 5, kExit = 1, kRank = 32, kRows = 12, kLeaver = 5, kVocab = 128;
constexpr size_t kWidth = 64;

// One row leaves behind kExit, all others run to the end.
struct one_leaves {
  int32_t position = kLeaver, after = kExit;
  static constexpr StageTraits traits{"one_leaves", StageKind::proposal};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.position == position && step.layer >= after) decision.verdict = Verdict::exit;
    return decision;
  }
};

// Every other row leaves, behind one layer or two.
struct odd_ones_leave {
  static constexpr StageTraits traits{"odd_ones_leave", StageKind::proposal};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.position % 2 == 1 && step.layer >= kExit + step.position % 4 / 2) decision.verdict = Verdict::exit;
    return decision;
  }
};

// States of every row behind every layer, over their root mean squares.
class States final : public LayerObserver {
 public:
  void at(LayerLoop& loop, int32_t layer) noexcept override {
    for (size_t r = 0; r < loop.rows.size(); ++r) {
      const auto state = loop.buffers.state(int64_t(r));
      double square = 0;
      for (const float v : state) square += double(v) * v;
      std::vector<float>& unit = of[size_t(layer)].emplace_back();
      for (const float v : state) unit.push_back(v / float(std::sqrt(square / double(state.size()))));
    }
  }
  std::vector<std::vector<float>> of[kLayers + 1];  // [layers behind][rows]
};

class KvTranslators : public ::testing::TestWithParam<const char*> {
 protected:
  const Model model_ = testing::tiny_model({.family = GetParam(),
                                            .n_layers = kLayers,
                                            .vocab = kVocab,
                                            .window_pattern = 2,
                                            .tokenizer = testing::TinyVocab::none},
                                           {.numerics = Numerics::exact});
  const std::vector<int32_t> ids_ = random_ids(kRows, kVocab, 31);

  Session session(std::vector<FittedFill> fills = {}) const {
    Session s =
        Session::make(model_, {.max_tokens = 64, .max_rows = 32, .max_logit_rows = 32, .kv = DType::f32}).value();
    FittedExit exit{.layer = kExit, .temperatures = {1}, .agreement = {AgreementMap{.slope = 1}}};
    exit.fills = std::move(fills);
    s.use(ExitHeads::make(model_, {.groups = {}, .exits = {std::move(exit)}}).value()).value();
    return s;
  }
  Outcome run(Session& s, const Policy& policy, int32_t chunk = kRows) const {
    return testing::run(s, ids_, {.chunk = chunk, .kind = RowKind::generated, .policy = policy.ref()});
  }

  // What the row that leaves would have been in layers above: by a constant, or by a map of rank one that its own state
  // alone turns into that.
  std::vector<FittedFill> exact_fills(bool by_matrices) const {
    Session full = session();
    States states;
    full.observe(&states);
    run(full, Policy());
    full.observe(nullptr);
    const std::vector<float>& from = states.of[kExit][kLeaver];
    std::vector<FittedFill> fills;
    for (int32_t layer = kExit + 2; layer <= kLayers; ++layer) {
      FittedFill fill = empty(layer);
      for (size_t i = 0; i < kWidth; ++i) {
        const float missing = states.of[size_t(layer) - 1][kLeaver][i] - from[i];
        fill.down[3 * kWidth + i] = from[i] / float(kWidth);  // times the state: 1
        (by_matrices ? fill.up[i * kRank + 3] : fill.bias[i]) = missing;
      }
      fills.push_back(std::move(fill));
    }
    return fills;
  }
  static FittedFill empty(int32_t layer) {
    return {layer, std::vector<float>(kRank * kWidth), std::vector<float>(kWidth * kRank), std::vector<float>(kWidth)};
  }
  static std::vector<FittedFill> some_fills() {
    std::mt19937_64 random(7);
    std::vector<FittedFill> fills;
    for (int32_t layer = kExit + 2; layer <= kLayers; ++layer) {
      fills.push_back(empty(layer));
      for (std::vector<float>* part : {&fills.back().down, &fills.back().up, &fills.back().bias}) {
        for (float& v : *part) v = float(int(random() % 65) - 32) / 128;
      }
    }
    return fills;
  }
};

// Root mean square of what differs in the logits of rows behind the one that left, over that of the first.
double difference(const Outcome& a, const Outcome& b) {
  double squares = 0, of_a = 0;
  for (size_t i = (kLeaver + 1) * kVocab; i < a.logits.size(); ++i) {
    squares += std::pow(double(a.logits[i]) - double(b.logits[i]), 2);
    of_a += std::pow(double(a.logits[i]), 2);
  }
  return std::sqrt(squares / of_a);
}

TEST_P(KvTranslators, ThatSayWhatLayersReadAtFullDepthFillItsCells) {
  Session full = session(), plain = session(), exact = session(exact_fills(false)), mapped = session(exact_fills(true));
  const Outcome truth = run(full, Policy());
  const Policy policy = one_leaves{};
  const double before = difference(truth, run(plain, policy));
  ASSERT_GT(before, 1e-3) << "cells that nobody misses prove nothing";
  EXPECT_LT(difference(truth, run(exact, policy)), 1e-5);
  EXPECT_LT(difference(truth, run(mapped, policy)), before / 20) << "matrices are rounded to 2^-9";
}

TEST_P(KvTranslators, ChangeNeitherTheAnswerOfTheRowThatLeftNorRowsBeforeItNorProvenance) {
  Session plain = session(), translated = session(some_fills());
  const Policy policy = one_leaves{};
  const Outcome a = run(plain, policy), b = run(translated, policy);
  for (size_t i = 0; i < (kLeaver + 1) * kVocab; ++i) ASSERT_EQ(a.logits[i], b.logits[i]) << i;
  EXPECT_NE(a.logits, b.logits);
  for (int32_t layer = 1; layer <= kLayers; ++layer) {
    for (int32_t p = 0; p < kRows; ++p) {
      EXPECT_EQ(plain.cache().provenance(layer, 0, p), translated.cache().provenance(layer, 0, p));
    }
  }
  EXPECT_EQ(translated.cache().provenance(kExit + 1, 0, kLeaver), Provenance::exact);
  EXPECT_EQ(translated.cache().provenance(kExit + 2, 0, kLeaver), Provenance::filled);
}

TEST_P(KvTranslators, AreOfTheirExitAlone) {
  Session plain = session(), translated = session(some_fills());
  for (const Policy& policy : {Policy(one_leaves{.after = kExit + 1}), Policy(), Policy(skip_layers{.layers = {4}})}) {
    EXPECT_EQ(run(plain, policy).logits, run(translated, policy).logits);
    plain.truncate(0, 0).value(), translated.truncate(0, 0).value();
  }
}

TEST_P(KvTranslators, GiveTheSameBitsHoweverRowsAreCutIntoSteps) {
  const auto rows_of = [&](int32_t chunk, int threads) {
    Session s =
        Session::make(model_, {.max_tokens = 64, .max_rows = 32, .max_logit_rows = 32, .threads = threads}).value();
    FittedExit exit{
        .layer = kExit, .temperatures = {1}, .agreement = {AgreementMap{.slope = 1}}, .fills = some_fills()};
    s.use(ExitHeads::make(model_, {.groups = {}, .exits = {std::move(exit)}}).value()).value();
    return run(s, odd_ones_leave{}, chunk).logits;
  };
  const std::vector<float> whole = rows_of(kRows, 1);
  for (const int32_t chunk : {1, 5}) EXPECT_EQ(rows_of(chunk, 1), whole) << chunk;
  EXPECT_EQ(rows_of(kRows, 3), whole);
}

// Writes down what a policy is told that leaving costs.
struct hear_price {
  float* if_exit;
  float* if_run;
  static constexpr StageTraits traits{"hear_price", StageKind::limit};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.position == kLeaver && step.layer == kExit) *if_exit = step.work_if_exit;
    if (step.position == kLeaver && step.layer == kExit - 1) *if_run = step.work_if_run;
    return decision;
  }
};

TEST_P(KvTranslators, ArePaidAndPoliciesAreToldSo) {
  float if_exit = 0, if_run = 0, unused = 0;
  const Policy policy = one_leaves{} | hear_price{&if_exit, &if_run};
  const Policy same = one_leaves{} | hear_price{&unused, &unused};
  Session plain = session(), translated = session(some_fills());
  const RowResult before = run(plain, same).rows[kLeaver], after = run(translated, policy).rows[kLeaver];
  EXPECT_EQ(after.macs - before.macs, 2.0 * kWidth * kRank * (kLayers - kExit - 1));
  EXPECT_EQ(after.full_macs, before.full_macs);
  EXPECT_FLOAT_EQ(if_exit, float(after.work()));
  EXPECT_FLOAT_EQ(if_run, float(after.work())) << "one layer, and then it leaves";
}

TEST_P(KvTranslators, ChangeNoTokenThatIsVerified) {
  const auto written = [&](Session s, const char* policy) {
    const Policy parsed = Policy::parse(policy).value();
    return generate(s, ids_, {.max_new_tokens = 24, .policy = parsed}).value().tokens;
  };
  const std::vector<int32_t> full = written(session(), "full_depth");
  for (const char* policy : {"exit_at(layer=1) | kv(verify, max_rows=4)",
                             "exit_when(confidence_at_least=0.02, from_layer=1) | kv(verify, max_rows=3)"}) {
    EXPECT_EQ(written(session(some_fills()), policy), full) << policy;
  }
}

// A row forgotten and run anew meets the same cells.
TEST_P(KvTranslators, HoldAfterARollback) {
  Session once = session(some_fills()), twice = session(some_fills());
  const Policy policy = one_leaves{};
  const Outcome straight = run(once, policy, 1);
  run(twice, policy, 1);
  twice.truncate(0, kLeaver).value();
  const auto rest = std::span(ids_).subspan(kLeaver);
  std::vector<Row> rows;
  for (size_t i = 0; i < rest.size(); ++i) {
    rows.push_back({.token = rest[i], .position = kLeaver + int32_t(i), .kind = RowKind::generated, .logits = true});
  }
  const StepResult again = twice.step(rows, policy.ref()).value();
  const auto found = again.logits.flat();
  EXPECT_TRUE(
      std::equal(found.begin(), found.end(), straight.logits.begin() + kLeaver * kVocab, straight.logits.end()));
}

INSTANTIATE_TEST_SUITE_P(Families, KvTranslators, ::testing::Values("gemma3", "llama", "qwen3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace fathom
