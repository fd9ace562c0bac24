// Depth debt in a session: what rows owe, when it is paid, and that what is paid is what full depth has.
#include <gtest/gtest.h>

#include <cstring>

#include "fathom/engine/work.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::random_ids;

constexpr int32_t kLayers = 6;

Session session(const Model& model) {
  return Session::make(model, {.max_tokens = 128, .max_sequences = 3, .max_rows = 64, .max_logit_rows = 64}).value();
}

Policy policy(const char* text) { return Policy::parse(text).value(); }

std::vector<float> logits_of(const StepResult& result, const RowResult& row) {
  const auto span = result.logits[row.logits].flat();
  return {span.begin(), span.end()};
}

// Runs ids as generated rows, one a step; returns what each predicted.
std::vector<std::vector<float>> run(Session& s, std::span<const int32_t> ids, const Policy& p, int32_t sequence = 0) {
  std::vector<std::vector<float>> all;
  for (int32_t id : ids) {
    const Row row{
        .token = id, .sequence = sequence, .position = s.length(sequence), .kind = RowKind::generated, .logits = true};
    const StepResult result = s.step({&row, 1}, p.ref()).value();
    all.push_back(logits_of(result, result.rows[0]));
  }
  return all;
}

// Keys and values of every cell that two caches hold, compared bit by bit; returns how many differ.
int64_t cells_that_differ(const Model& model, const Session& a, int32_t sequence_a, const Session& b,
                          int32_t sequence_b) {
  int64_t n = 0;
  for (int32_t layer = 1; layer <= model.config().n_layers; ++layer) {
    const LayerSpec& spec = model.config().layers[static_cast<size_t>(layer - 1)];
    const size_t values = static_cast<size_t>(spec.kv_heads) * spec.head_dim;
    for (int32_t p = 0; p < a.length(sequence_a); ++p) {
      const KvPage& x = *a.cache().pages(layer, sequence_a)[p / kPageCells];
      const KvPage& y = *b.cache().pages(layer, sequence_b)[p / kPageCells];
      bool same = true;
      for (size_t i = 0; i < values; ++i) {
        const size_t head = i / spec.head_dim, dim = i % spec.head_dim, slot = static_cast<size_t>(p % kPageCells);
        const size_t k = (head * spec.head_dim + dim) * kPageCells + slot,
                     v = (head * kPageCells + slot) * spec.head_dim + dim;
        same &= std::memcmp(static_cast<const uint16_t*>(x.k) + k, static_cast<const uint16_t*>(y.k) + k, 2) == 0 &&
                std::memcmp(static_cast<const uint16_t*>(x.v) + v, static_cast<const uint16_t*>(y.v) + v, 2) == 0;
      }
      n += !same;
    }
  }
  return n;
}

TEST(Settle, RowsThatOweSayFullDepthsAnswersAndWriteItsCells) {
  for (const char* family : {"gemma3", "llama", "qwen3"}) {
    for (const char* text :
         {"exit_at(2) | kv(verify)", "skip_layers([3]) | kv(verify)", "exit_at(4) | kv(verify)",
          "skip_sublayers(feed_forward=[1,4]) | kv(verify)", "skip_layers([2]) | exit_at(4) | kv(verify)"}) {
      SCOPED_TRACE(std::string(family) + " " + text);
      const Model model = testing::tiny_model({.family = family, .n_layers = kLayers, .type = DType::q8_0});
      Session full = session(model), drafts = session(model);
      const auto ids = random_ids(20, model.config().vocab, 4);
      const auto expected = run(full, ids, {});
      run(drafts, std::span(ids).first(12), {});
      run(drafts, std::span(ids).subspan(12), policy(text));
      EXPECT_EQ(drafts.owed(), 8);
      EXPECT_GT(cells_that_differ(model, drafts, 0, full, 0), 0);
      const StepResult settled = drafts.settle().value();
      ASSERT_EQ(settled.settled.size(), 8u);
      EXPECT_TRUE(settled.rows.empty());
      for (size_t i = 0; i < 8; ++i) {
        const RowResult& row = settled.settled[i];
        EXPECT_EQ(row.position, 12 + static_cast<int32_t>(i));
        EXPECT_TRUE(row.settled);
        EXPECT_FALSE(row.owes);
        EXPECT_EQ(logits_of(settled, row), expected[12 + i]);
        EXPECT_GT(row.macs, row.full_macs);  // at least the head is run twice
        EXPECT_LE(row.step_macs, row.full_macs);
        EXPECT_EQ(row.depth, kLayers);
      }
      EXPECT_EQ(drafts.owed(), 0);
      EXPECT_EQ(cells_that_differ(model, drafts, 0, full, 0), 0);
      for (int32_t layer = 1; layer <= kLayers; ++layer) {
        for (int32_t p = 0; p < 20; ++p) EXPECT_EQ(drafts.cache().provenance(layer, 0, p), Provenance::exact);
      }
    }
  }
}

TEST(Settle, WhatLiesBeforeARowsFirstSavingIsNotRunAgain) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  Session s = session(model);
  const auto ids = random_ids(4, model.config().vocab, 4);
  run(s, ids, policy("exit_at(4) | kv(verify)"));
  const StepResult settled = s.settle().value();
  double layers = 0;
  const WorkModel work(model.config());
  for (int32_t layer = 5; layer <= kLayers; ++layer) layers += work.layer(layer, 0);
  EXPECT_DOUBLE_EQ(settled.settled[0].step_macs, layers + work.head());
  // The second row attended in layers 5 and up to nothing, as it left too: it owes from layer 4 as well.
  EXPECT_LT(settled.settled[1].step_macs, settled.settled[0].step_macs * 1.01);
}

TEST(Settle, OwedCellsSaySo) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  Session s = session(model);
  run(s, random_ids(3, model.config().vocab, 4), policy("exit_at(4) | kv(verify)"));
  EXPECT_EQ(s.cache().provenance(5, 0, 0), Provenance::exact);  // projected from the state full depth has there
  EXPECT_EQ(s.cache().provenance(6, 0, 0), Provenance::owed);
  EXPECT_EQ(s.cache().provenance(4, 0, 2), Provenance::exact);
}

TEST(Settle, TakesSeveralSequencesAndNewRowsInOnePass) {
  const Model model = testing::tiny_model({.n_layers = kLayers, .type = DType::q8_0});
  Session full = session(model), s = session(model);
  const auto a = random_ids(9, model.config().vocab, 1), b = random_ids(7, model.config().vocab, 2),
             c = random_ids(4, model.config().vocab, 3);
  const auto expect_a = run(full, a, {}, 0), expect_b = run(full, b, {}, 1), expect_c = run(full, c, {}, 2);
  run(s, a, policy("exit_at(2) | kv(verify, max_rows=16)"), 0);
  run(s, b, policy("skip_layers([5]) | kv(verify, max_rows=16)"), 1);
  std::vector<Row> rows;
  for (int32_t p = 0; p < 4; ++p) rows.push_back({.token = c[size_t(p)], .sequence = 2, .position = p, .logits = true});
  const StepResult result = s.settle(rows).value();
  ASSERT_EQ(result.settled.size(), 16u);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(logits_of(result, result.settled[i]), expect_a[i]);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(logits_of(result, result.settled[9 + i]), expect_b[i]);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(logits_of(result, result.rows[i]), expect_c[i]);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(result.rows[i].depth, kLayers);  // others' debts are not its depth
  for (int32_t q = 0; q < 3; ++q) EXPECT_EQ(cells_that_differ(model, s, q, full, q), 0) << q;
}

TEST(Settle, WhatIsTakenBackIsNotOwed) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  Session full = session(model), s = session(model);
  const auto ids = random_ids(6, model.config().vocab, 4);
  const auto expected = run(full, ids, {});
  run(s, ids, policy("exit_at(2) | kv(verify)"));
  s.truncate(0, 4).value();
  EXPECT_EQ(s.owed(), 4);
  EXPECT_EQ(s.settle().value().settled.size(), 4u);
  run(s, std::span(ids).subspan(4), {});
  EXPECT_EQ(cells_that_differ(model, s, 0, full, 0), 0);
  s.truncate(0, 0).value();
  EXPECT_EQ(s.owed(), 0);
  EXPECT_FALSE(s.settle().has_value());  // nothing to run
}

// kv(settle_later): the token stands, and no row ever reads a cell that is not exact.
TEST(Settle, LaterGivesAnExactCacheWhateverTheRowsDid) {
  for (const char* family : {"gemma3", "qwen2"}) {
    const Model model = testing::tiny_model({.family = family, .n_layers = kLayers, .type = DType::q8_0});
    for (const char* text :
         {"exit_at(2) | kv(settle_later, max_rows=4)", "exit_when(0.012, from_layer=2) | kv(settle_later)",
          "skip_layers([3]) | kv(settle_later, max_rows=3)", "skip_when(0.95) | exit_at(5) | kv(settle_later)"}) {
      SCOPED_TRACE(std::string(family) + " " + text);
      Session full = session(model), s = session(model);
      const auto ids = random_ids(40, model.config().vocab, 8);
      run(full, ids, {});
      run(s, ids, policy(text));
      EXPECT_LE(s.owed(), 8);
      if (s.owed() > 0) s.settle().value();
      EXPECT_EQ(cells_that_differ(model, s, 0, full, 0), 0);
    }
  }
}

// The second row runs to full depth and takes the first along: its answer is full depth's.
TEST(Settle, ADeeperRowTakesThoseThatOweAlong) {
  const Model model = testing::tiny_model({.n_layers = kLayers, .type = DType::q8_0});
  Session full = session(model), s = session(model);
  const auto ids = random_ids(5, model.config().vocab, 8);
  const auto expected = run(full, ids, {});
  run(s, std::span(ids).first(4), policy("exit_at(2) | kv(settle_later)"));
  EXPECT_EQ(s.owed(), 4);
  const Row row{.token = ids[4], .position = 4, .kind = RowKind::generated, .logits = true};
  const StepResult result = s.step({&row, 1}).value();
  EXPECT_EQ(logits_of(result, result.rows[0]), expected[4]);
  EXPECT_EQ(result.settled.size(), 4u);
  EXPECT_EQ(result.rows[0].depth, kLayers);
  EXPECT_EQ(s.owed(), 0);
}

// A row that goes to layer 4 takes rows that left after layer 2 to layer 4, and no deeper.
TEST(Settle, RowsThatOweGoAsDeepAsTheirSequenceAndNoDeeper) {
  const Model model = testing::tiny_model({.n_layers = kLayers, .type = DType::q8_0});
  Session full = session(model), s = session(model);
  const auto ids = random_ids(4, model.config().vocab, 8);
  run(full, ids, {});
  run(s, std::span(ids).first(3), policy("exit_at(2) | kv(settle_later)"));
  run(s, std::span(ids).subspan(3), policy("exit_at(4) | kv(settle_later)"));
  EXPECT_EQ(s.owed(), 4);
  for (int32_t p = 0; p < 4; ++p) EXPECT_EQ(s.cache().provenance(4, 0, p), Provenance::exact) << p;
  const StepResult settled = s.settle().value();
  const WorkModel work(model.config());
  EXPECT_DOUBLE_EQ(settled.settled[0].step_macs, work.layer(5, 0) + work.layer(6, 0) + work.head());
  EXPECT_EQ(cells_that_differ(model, s, 0, full, 0), 0);
}

TEST(Settle, TooManyRowsThatOweAreRefusedAndNothingChanges) {
  const Model model = testing::tiny_model({.n_layers = kLayers});
  Session s = session(model);
  const Policy two = policy("exit_at(2) | kv(verify, max_rows=2)");
  run(s, random_ids(2, model.config().vocab, 8), two);
  const Row more{.token = 1, .position = 2, .kind = RowKind::generated, .logits = true};
  const auto refused = s.step({&more, 1}, two.ref());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::capacity);
  EXPECT_NE(refused.error().message.find("max_rows"), std::string::npos) << refused.error().message;
  const Row prompt{.token = 1, .position = 2};
  EXPECT_FALSE(s.step({&prompt, 1}, two.ref()).has_value());
  EXPECT_EQ(s.length(), 2);
  EXPECT_EQ(s.owed(), 2);
  EXPECT_EQ(s.settle().value().settled.size(), 2u);
}

}  // namespace
}  // namespace fathom
