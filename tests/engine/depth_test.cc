// What a decision does to a row: exits, skips, filled cells, per-row depth and the work that is counted.
#include <gtest/gtest.h>

#include <cmath>

#include "fathom/engine/work.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;
using testing::run;
using testing::RunOptions;
using testing::TinyOptions;

const char* const kFamilies[] = {"gemma3", "llama", "qwen2", "qwen3"};

Session session(const Model& model) {
  return Session::make(model, {.max_tokens = 128, .max_sequences = 4, .max_rows = 64, .max_logit_rows = 64}).value();
}

// A control: the row at position 2 leaves after layer 2.
struct leaves_at_two {
  static constexpr StageTraits traits{.name = "leaves_at_two", .kind = StageKind::proposal};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.position == 2 && step.layer >= 2) decision.verdict = Verdict::exit;
    return decision;
  }
};

// Tiny models draw each tensor from its own seed, so a model of two layers is the lower part of one of five.
TEST(Depth, AnExitAfterLayerTwoIsAModelOfTwoLayers) {
  for (const char* family : kFamilies) {
    SCOPED_TRACE(family);
    const Model deep = testing::tiny_model({.family = family, .n_layers = 5});
    const Model shallow = testing::tiny_model({.family = family, .n_layers = 2});
    const auto ids = random_ids(30, deep.config().vocab, 3);
    Session a = session(deep), b = session(shallow);
    const Policy policy = exit_at{.layer = 2};
    for (int32_t chunk : {1, 30}) {
      const Outcome exited = run(a, ids, {.chunk = chunk, .kind = RowKind::generated, .policy = policy.ref()});
      EXPECT_EQ(exited.logits, run(b, ids, {.chunk = chunk}).logits);
      for (const RowResult& row : exited.rows) EXPECT_EQ(row.depth, 2);
    }
  }
}

// Rows 0, 1 at full depth, row 2 leaves after layer 2, rows 3..5 at full depth again.
TEST(Depth, EveryCellIsThereAndSaysWhereItComesFromWhateverTheChunking) {
  const Model model = testing::tiny_model({.n_layers = 6});
  const auto ids = random_ids(6, model.config().vocab, 5);
  const Policy exit = leaves_at_two{};
  for (int32_t chunk : {1, 2, 6}) {
    SCOPED_TRACE(chunk);
    Session s = session(model);
    run(s, ids, {.chunk = chunk, .kind = RowKind::generated, .policy = exit.ref()});
    const KvCache& cache = s.cache();
    for (int32_t p = 0; p < 6; ++p) EXPECT_FALSE(cache.has_hole(0, p));
    for (int32_t layer = 1; layer <= 6; ++layer) {
      EXPECT_EQ(cache.provenance(layer, 0, 1), Provenance::exact);
      // Layer 3 is projected from the state that full depth has there; layer 4 from one that full depth has not.
      EXPECT_EQ(cache.provenance(layer, 0, 2), layer <= 3 ? Provenance::exact : Provenance::filled) << layer;
      // A later row meets the first wrong cell in layer 4, so what it writes is wrong from layer 5 on.
      EXPECT_EQ(cache.provenance(layer, 0, 3), layer <= 4 ? Provenance::exact : Provenance::inexact) << layer;
    }
    s.truncate(0, 2).value();
    const Row row{.token = 1, .position = 2, .logits = true};
    s.step({&row, 1}).value();
    EXPECT_EQ(cache.provenance(6, 0, 2), Provenance::exact);
  }
}

// Exact cells are those whose bits a full-depth run would have written, and no others.
TEST(Depth, CellsCalledExactHoldTheBitsOfFullDepth) {
  const Model model = testing::tiny_model({.n_layers = 6});
  const auto ids = random_ids(6, model.config().vocab, 5);
  Session full = session(model), saved = session(model);
  run(full, ids, {.chunk = 1, .kind = RowKind::generated});
  const Policy exit = leaves_at_two{};
  run(saved, ids, {.chunk = 3, .kind = RowKind::generated, .policy = exit.ref()});
  const LayerSpec& spec = model.config().layers[0];
  const auto bits = [&](Session& s, int32_t layer, int32_t p) {
    std::vector<uint16_t> out;
    const KvPage& page = *s.cache().pages(layer, 0)[0];
    for (int32_t d = 0; d < spec.kv_heads * spec.head_dim; ++d) {
      out.push_back(static_cast<const uint16_t*>(page.k)[d * kPageCells + p]);
    }
    return out;
  };
  int wrong = 0;
  for (int32_t layer = 1; layer <= 6; ++layer) {
    for (int32_t p = 0; p < 6; ++p) {
      const bool same = bits(full, layer, p) == bits(saved, layer, p);
      EXPECT_EQ(same, saved.cache().provenance(layer, 0, p) == Provenance::exact) << "layer " << layer << ", " << p;
      wrong += !same;
    }
  }
  EXPECT_GT(wrong, 0);
}

TEST(Depth, ARowsDepthIsItsOwnWhateverItsNeighboursDo) {
  const Model model = testing::tiny_model({.family = "gemma3", .n_layers = 6});
  const Policy policy = exit_when{.confidence_at_least = 0.5f};
  std::vector<std::vector<int32_t>> texts;
  for (uint64_t i = 0; i < 4; ++i) texts.push_back(random_ids(16, model.config().vocab, 20 + i));
  std::vector<Outcome> alone;
  for (const auto& ids : texts) {
    Session s = session(model);
    alone.push_back(run(s, ids, {.chunk = 1, .kind = RowKind::generated, .policy = policy.ref()}));
  }
  Session s = session(model);
  bool mixed = false;
  for (int32_t p = 0; p < 16; ++p) {
    std::vector<Row> rows;
    for (int32_t i = 0; i < 4; ++i) {
      rows.push_back({.token = texts[size_t(i)][size_t(p)],
                      .sequence = i,
                      .position = p,
                      .kind = RowKind::generated,
                      .logits = true});
    }
    const StepResult r = s.step(rows, policy.ref()).value();
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(r.rows[i].depth, alone[i].rows[size_t(p)].depth);
      EXPECT_EQ(r.rows[i].macs, alone[i].rows[size_t(p)].macs);
      const auto logits = r.logits[r.rows[i].logits].flat();
      EXPECT_TRUE(std::equal(logits.begin(), logits.end(),
                             alone[i].logits.begin() + std::ptrdiff_t(size_t(p) * logits.size())));
      mixed |= r.rows[i].depth != r.rows[0].depth;
    }
  }
  EXPECT_TRUE(mixed) << "the threshold tells no row from another: choose one that does";
}

TEST(Depth, ChunksDecideAsSingleRowsDo) {
  const Model model = testing::tiny_model({.n_layers = 6});
  const auto ids = random_ids(40, model.config().vocab, 9);
  for (const char* text :
       {"exit_when(confidence_at_least=0.012)", "skip_when(similarity_above=0.9)",
        "exit_when(signal=diversity, at_least=0.5)", "exit_when(signal=attention_received, below=0.2)",
        "exit_when(signal=similarity_attention, below=0.99, from_layer=3)",
        "skip_when(similarity_above=0.9, part=attention)", "skip_layers([2, 4])",
        "skip_sublayers(attention=[3], feed_forward=[2, 5])", "exit_at(layer=3)",
        "exit_when(margin_at_least=0.0005, from_layer=2, every=2) | min_depth(layers=3)"}) {
    SCOPED_TRACE(text);
    const Policy policy = Policy::parse(text).value();
    Session s = session(model);
    const RunOptions one{.chunk = 1, .kind = RowKind::generated, .policy = policy.ref()};
    const RunOptions many{.chunk = 13, .kind = RowKind::generated, .policy = policy.ref()};
    const Outcome a = run(s, ids, one), b = run(s, ids, many);
    EXPECT_EQ(a.logits, b.logits);
    float saved = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(a.rows[i].depth, b.rows[i].depth);
      EXPECT_EQ(a.rows[i].macs, b.rows[i].macs);
      saved += 6 - a.rows[i].depth;
    }
    EXPECT_GT(saved, 0) << "a policy that saves nothing here proves nothing";
  }
}

TEST(Depth, PatienceCountsItsOwnChecksAndNotThoseOfOtherStages) {
  const Model model = testing::tiny_model({.n_layers = 8});
  const auto ids = random_ids(30, model.config().vocab, 9);
  const auto depths = [&](const char* text) {
    Session s = session(model);
    const Policy policy = Policy::parse(text).value();
    std::vector<float> out;
    for (const RowResult& row : run(s, ids, {.chunk = 30, .kind = RowKind::generated, .policy = policy.ref()}).rows) {
      out.push_back(row.depth);
    }
    return out;
  };
  const auto alone = depths("patience(agreeing=2, from_layer=2, every=3)");
  EXPECT_NE(alone, std::vector<float>(30, 8)) << "a patience that is never satisfied proves nothing";
  EXPECT_EQ(depths("exit_when(confidence_at_least=1) | patience(agreeing=2, from_layer=2, every=3)"), alone);
}

TEST(Depth, WorkCountsLayersFillsChecksAndHead) {
  const Model model = testing::tiny_model({.n_layers = 4});
  const WorkModel work(model.config());
  Session s = session(model);
  const auto ids = random_ids(3, model.config().vocab, 5);
  const auto full = work.full(2, true);
  const auto last_work = [&](const char* text) {
    const Policy policy = Policy::parse(text).value();
    return run(s, ids, {.chunk = 3, .kind = RowKind::generated, .policy = policy.ref()}).rows[2].work();
  };
  const auto layers = [&](int32_t n) {
    double sum = 0;
    for (int32_t l = 1; l <= n; ++l) sum += work.layer(l, 2);
    return sum;
  };
  EXPECT_DOUBLE_EQ(last_work("full_depth"), 1.0);
  EXPECT_DOUBLE_EQ(last_work("exit_at(layer=1)"), ((layers(1) + work.fill_above(1) + work.head()) / full));
  EXPECT_DOUBLE_EQ(last_work("skip_layers([3])"), ((layers(4) - work.layer(3, 2) + work.fill(3) + work.head()) / full));
  EXPECT_DOUBLE_EQ(last_work("skip_sublayers(feed_forward=[3])"),
                   ((layers(4) - work.feed_forward(3) + work.head()) / full));
  // Checks that never succeed cost a head each; the boundary after the last layer has none.
  EXPECT_DOUBLE_EQ(last_work("exit_when(confidence_at_least=1)"), ((layers(4) + 4 * work.head()) / full));
  // A check that succeeds is the answer: its head is not paid twice.
  EXPECT_DOUBLE_EQ(last_work("exit_when(confidence_at_least=0)"),
                   ((layers(1) + work.fill_above(1) + work.head()) / full));
}

TEST(Depth, APolicyThatReadsTheRowBeforeTakesOneRowOfASequenceAStep) {
  const Model model = testing::tiny_model();
  Session s = Session::make(model, {.max_tokens = 16, .max_sequences = 2}).value();
  const Policy policy = budget{.of_full = 0.6f};
  const auto generated = [](int32_t sequence, int32_t position) {
    return Row{.token = 3, .sequence = sequence, .position = position, .kind = RowKind::generated};
  };
  const Row two[] = {generated(0, 0), generated(0, 1)}, apart[] = {generated(0, 0), generated(1, 0)};
  const auto refused = s.step(two, policy.ref());
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("sequence 0: a generated row beside others"), std::string::npos);
  EXPECT_EQ(s.length(0), 0) << "a refused step changes nothing";
  const Row mixed[] = {{.token = 3, .sequence = 0, .position = 0, .logits = true}, generated(0, 1)};
  EXPECT_FALSE(s.step(mixed, policy.ref()).has_value()) << "the prompt row's entropy would come too late";
  EXPECT_TRUE(s.step(apart, policy.ref()).has_value());
  const Row prompt[] = {{.token = 3, .sequence = 0, .position = 1}, {.token = 3, .sequence = 0, .position = 2}};
  EXPECT_TRUE(s.step(prompt, policy.ref()).has_value()) << "budgets count generated rows";
}

TEST(Depth, ABudgetHoldsOverEveryPrefixOfASequence) {
  const Model model = testing::tiny_model({.n_layers = 8});
  Session s = session(model);
  const auto ids = random_ids(60, model.config().vocab, 5);
  for (float of_full : {0.5f, 0.7f, 0.9f}) {
    const Policy policy = budget{.of_full = of_full};
    const Outcome out = run(s, ids, {.chunk = 1, .kind = RowKind::generated, .policy = policy.ref()});
    double spent = 0, full = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      spent += out.rows[i].macs;
      full += out.rows[i].full_macs;
      EXPECT_LE(spent, of_full * full * (1 + 1e-5)) << "row " << i << " of_full " << of_full;
    }
    EXPECT_GT(spent, (of_full - 0.1) * full) << "a budget that is not used is a cap";
  }
}

TEST(Depth, PromptRowsRunAtFullDepthUnlessAStageSaysOtherwise) {
  const Model model = testing::tiny_model({.n_layers = 4});
  Session s = session(model);
  const auto ids = random_ids(5, model.config().vocab, 5);
  for (const auto& [text, depth] : {std::pair{"exit_at(layer=2)", 4.0f},
                                    {"exit_at(layer=2, on=prompt)", 2.0f},
                                    {"exit_at(layer=2, on=all)", 2.0f}}) {
    const Policy policy = Policy::parse(text).value();
    for (const RowResult& row : run(s, ids, {.chunk = 5, .policy = policy.ref()}).rows) EXPECT_EQ(row.depth, depth);
  }
}

TEST(Session, CutBackPoliciesKnowWhatTheyKnewThen) {
  const Model model = testing::tiny_model({.n_layers = 8});
  const auto ids = random_ids(12, model.config().vocab, 5);
  for (const char* text : {"budget(of_full=0.6)", "exit_at(layer=2) | full_depth_first(tokens=8)"}) {
    SCOPED_TRACE(text);
    const Policy policy = Policy::parse(text).value();
    Session s = session(model);
    const Outcome first = run(s, ids, {.chunk = 1, .kind = RowKind::generated, .policy = policy.ref()});
    s.truncate(0, 5).value();
    for (int32_t p = 5; p < 12; ++p) {
      const Row row{.token = ids[size_t(p)], .position = p, .kind = RowKind::generated, .logits = true};
      const StepResult again = s.step({&row, 1}, policy.ref()).value();
      EXPECT_EQ(again.rows[0].depth, first.rows[size_t(p)].depth);
      EXPECT_EQ(again.rows[0].macs, first.rows[size_t(p)].macs);
    }
  }
}

TEST(Session, RefusesWhatItCannotRunAndStaysAsItWas) {
  const Model model = testing::tiny_model();
  Session s = session(model);
  const Row good{.token = 1, .position = 0, .logits = true};
  const auto message = [&](Row row) {
    const auto result = s.step({&row, 1});
    return result.has_value() ? std::string() : result.error().message;
  };
  EXPECT_NE(message({.token = -1}).find("token -1"), std::string::npos);
  EXPECT_NE(message({.token = 1 << 20}).find("token 1048576"), std::string::npos);
  EXPECT_NE(message({.token = 1, .sequence = 4}).find("sequence 4"), std::string::npos);
  EXPECT_NE(message({.token = 1, .position = 3}).find("position 3"), std::string::npos);
  EXPECT_EQ(s.length(), 0);
  EXPECT_FALSE(s.step({}).has_value());
  ASSERT_TRUE(s.step({&good, 1}).has_value());
  EXPECT_EQ(s.length(), 1);
  std::vector<Row> rows;
  for (int32_t p = 1; p <= 128; ++p) rows.push_back({.token = 1, .position = p});
  for (size_t at = 0; at < 127; at += 64) {
    const auto piece = std::span<const Row>(rows).subspan(at, std::min<size_t>(64, 127 - at));
    ASSERT_TRUE(s.step(piece).has_value());
  }
  const auto over = s.step({&rows[127], 1});
  ASSERT_FALSE(over.has_value());
  EXPECT_EQ(over.error().message, "position 129 of 128: raise SessionOptions::max_tokens");
  EXPECT_FALSE(s.truncate(0, 129).has_value());
  EXPECT_FALSE(s.truncate(9, 0).has_value());
}

}  // namespace
}  // namespace fathom
