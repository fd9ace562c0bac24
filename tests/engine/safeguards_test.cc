// What policies are told of a row's token and of its sequence's predictions, and cells that are settled in turn.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "fathom/text/token_class.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::random_ids;

constexpr int32_t kLayers = 6;

// Writes down what it sees at the boundary before the first layer.
struct hear {
  std::vector<Step>* heard;
  static constexpr StageTraits traits{"hear", StageKind::limit, SignalSet(Signal::token_class) | kLastMarginSignals,
                                      true};
  SignalSet reads_at(int32_t, int32_t, RowKind) const noexcept { return traits.reads; }
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer == 0) heard->push_back(step);
    return decision;
  }
};

Session session(const Model& model, int32_t sequences = 1) {
  return Session::make(model, {.max_tokens = 128, .max_sequences = sequences, .max_rows = 65, .max_logit_rows = 16})
      .value();
}
Policy policy(const char* text) { return Policy::parse(text).value(); }

// One generated row a step; the margin of what each predicts.
std::vector<float> run(Session& s, std::span<const int32_t> ids, const Policy& p, std::vector<float>* depths = nullptr,
                       int32_t sequence = 0) {
  std::vector<float> margins;
  for (const int32_t id : ids) {
    const Row row{
        .token = id, .sequence = sequence, .position = s.length(sequence), .kind = RowKind::generated, .logits = true};
    const StepResult result = s.step({&row, 1}, p.ref()).value();
    if (depths != nullptr) depths->push_back(result.rows[0].depth);
    std::vector<double> logits;
    for (const float x : result.logits.flat()) logits.push_back(x);
    std::sort(logits.rbegin(), logits.rend());
    double sum = 0;
    for (const double x : logits) sum += std::exp(x - logits[0]);
    margins.push_back(float((1 - std::exp(logits[1] - logits[0])) / sum));
  }
  return margins;
}

TEST(Safeguards, ARowIsToldItsClassAndTheMarginsBeforeIt) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  const std::vector<TokenClass> classes = classes_of(model.tokenizer());
  const auto ids = random_ids(9, model.config().vocab, 3);
  std::vector<Step> heard;
  Session s = session(model);
  const std::vector<float> margins = run(s, ids, exit_at{.layer = 3} | hear{&heard});
  ASSERT_EQ(heard.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(heard[i][Signal::token_class], float(classes[size_t(ids[i])]));
    for (int n = 1; n <= kLastMargins; ++n) {
      const float seen = heard[i][last_margin_of(n)];
      if (size_t(n) > i) {
        EXPECT_TRUE(std::isnan(seen)) << i << " " << n;
      } else {
        const auto from = margins.begin() + std::ptrdiff_t(i);
        EXPECT_NEAR(seen, *std::max_element(from - n, from), 1e-5) << i << " " << n;
      }
    }
  }
}

TEST(Safeguards, MarginsAreForgottenWithTheirPositions) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  const auto ids = random_ids(8, model.config().vocab, 4);
  std::vector<Step> heard;
  const Policy p = exit_at{.layer = 2} | hear{&heard};
  Session s = session(model);
  run(s, ids, p);
  const std::vector<Step> first(heard.begin() + 5, heard.end());
  run(s, random_ids(4, model.config().vocab, 5), p);
  s.truncate(0, 5).value();
  heard.clear();
  run(s, std::span(ids).subspan(5), p);
  ASSERT_EQ(heard.size(), first.size());
  for (size_t i = 0; i < first.size(); ++i) {
    for (int n = 1; n <= kLastMargins; ++n) EXPECT_EQ(heard[i][last_margin_of(n)], first[i][last_margin_of(n)]);
  }
}

TEST(Safeguards, AnotherSequencesMarginsAreNotSeen) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  const auto ids = random_ids(6, model.config().vocab, 6), others = random_ids(6, model.config().vocab, 7);
  std::vector<Step> alone, beside;
  Session a = session(model), b = session(model, 2);
  run(a, ids, exit_at{.layer = 2} | hear{&alone});
  for (size_t i = 0; i < ids.size(); ++i) {
    const Row rows[] = {
        {.token = others[i], .sequence = 1, .position = int32_t(i), .kind = RowKind::generated, .logits = true},
        {.token = ids[i], .position = int32_t(i), .kind = RowKind::generated, .logits = true}};
    b.step(rows, Policy(exit_at{.layer = 2} | hear{&beside}).ref()).value();
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const float x = alone[i][Signal::last_margin_2], y = beside[2 * i + 1][Signal::last_margin_2];
    EXPECT_TRUE(x == y || (std::isnan(x) && std::isnan(y)));
  }
}

TEST(Safeguards, RowsOfTheClassRunEveryLayerAndTheOthersLeave) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  const std::vector<TokenClass> classes = classes_of(model.tokenizer());
  const auto ids = random_ids(24, model.config().vocab, 8);
  const auto common = classes[size_t(ids[0])];
  std::vector<float> depths;
  Session s = session(model);
  run(s, ids, exit_at{.layer = 2} | full_depth_at{.tokens = common}, &depths);
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(depths[i], classes[size_t(ids[i])] == common ? float(kLayers) : 2.0f) << i;
  }
}

TEST(Safeguards, RowsBehindLowMarginsRunEveryLayer) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  const auto ids = random_ids(24, model.config().vocab, 9);
  std::vector<float> depths;
  Session s = session(model);
  std::vector<float> sorted = run(s, ids, exit_at{.layer = 2});
  s.truncate(0, 0).value();
  std::sort(sorted.begin(), sorted.end());
  const size_t at = sorted.size() * 2 / 3;
  const float low_margin = (sorted[at] + sorted[at + 1]) / 2;  // no margin itself
  const std::vector<float> margins =
      run(s, ids, exit_at{.layer = 2} | full_depth_after{.low_margin = low_margin, .rows = 2}, &depths);
  int restored = 0;
  for (size_t i = 2; i < ids.size(); ++i) {
    const bool low = margins[i - 1] < low_margin && margins[i - 2] < low_margin;
    EXPECT_EQ(depths[i], low ? float(kLayers) : 2.0f) << i;
    restored += low;
  }
  EXPECT_GT(restored, 0);
  EXPECT_LT(restored, 22) << "a margin that is always low proves nothing";
}

int64_t inexact_cells(const Model& model, const Session& s) {
  int64_t n = 0;
  for (int32_t layer = 1; layer <= model.config().n_layers; ++layer) {
    for (int32_t p = 0; p < s.length(); ++p) n += s.cache().provenance(layer, 0, p) != Provenance::exact;
  }
  return n;
}

// Between two settlings it is kv(fill), and behind one it is full depth.
TEST(SettleEvery, FilledCellsAreReadAsTheyAreUntilTheyAreMadeExactInTurn) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  const auto ids = random_ids(23, model.config().vocab, 10);
  Session turn = session(model), fill = session(model), full = session(model);
  const Policy in_turn = policy("exit_at(2) | full_depth_at(word_parts) | settle_every(8)"),
               filled = policy("exit_at(2) | full_depth_at(word_parts)");
  std::vector<float> a, b;
  int settlings = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const int32_t before = turn.owed();
    run(turn, {&ids[i], 1}, in_turn, &a);
    settlings += turn.owed() < before;
    EXPECT_EQ(turn.owed() < before, before == 8) << i;
    if (i < 8) run(fill, {&ids[i], 1}, filled, &b);
    EXPECT_LE(turn.owed(), 8);
  }
  EXPECT_EQ(std::vector<float>(a.begin(), a.begin() + 8), b);
  EXPECT_GE(settlings, 1);
  EXPECT_GT(inexact_cells(model, turn), 0) << "the last rows wait";
  turn.settle().value();
  run(full, ids, {});
  EXPECT_EQ(inexact_cells(model, turn), 0);
  const auto again = random_ids(1, model.config().vocab, 11);
  EXPECT_EQ(run(turn, again, {}), run(full, again, {})) << "the cache is that of full depth";
}

TEST(SettleEvery, APromptBehindFilledRowsSettlesThem) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  const auto ids = random_ids(6, model.config().vocab, 12);
  Session s = session(model), full = session(model);
  run(s, std::span(ids).first(3), policy("exit_at(2) | settle_every(8)"));
  EXPECT_EQ(s.owed(), 3);
  std::vector<Row> rows;
  for (int32_t p = 3; p < 6; ++p) rows.push_back({.token = ids[size_t(p)], .position = p});
  s.step(rows, policy("exit_at(2) | settle_every(8)").ref()).value();
  EXPECT_EQ(s.owed(), 0);
  EXPECT_EQ(inexact_cells(model, s), 0);
}

}  // namespace
}  // namespace fathom
