// Signals that look back on a sequence's rows and into attention: their definitions, what they cost, what a rollback
// leaves of them, and that no row's depends on what stood beside it. Next: tests/engine/checks_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "tests/support/plain_forward.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::random_ids;

constexpr int32_t kLayers = 6;
constexpr int32_t kVocab = 128;

// (position, boundary) -> a signal of the row, by its bits: one that is missing equals itself.
using Heard = std::map<std::array<int32_t, 2>, uint32_t>;

// Writes down one signal of rows of a kind by (position, boundary), and saves nothing.
struct hear {
  Signal signal;
  Heard* heard;
  RowKind kind = RowKind::generated;
  static constexpr StageTraits traits{"hear", StageKind::limit, SignalSet::all()};
  bool sequential() const noexcept { return false; }
  SignalSet reads_at(int32_t layer, int32_t, RowKind of) const noexcept {
    return layer >= 1 && of == kind ? SignalSet(signal) : SignalSet();
  }
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer >= 1 && step.kind == kind) {
      (*heard)[{step.position, step.layer}] = std::bit_cast<uint32_t>(step[signal]);
    }
    return decision;
  }
};

// Rows at odd positions leave behind layer 2.
struct odd_rows_leave {
  static constexpr StageTraits traits{"odd_rows_leave", StageKind::proposal};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer >= 2 && step.position % 2 == 1) decision.verdict = Verdict::exit;
    return decision;
  }
};

Model model(const char* family = "qwen2") {
  return testing::tiny_model(
      {.family = family, .n_layers = kLayers, .vocab = kVocab, .tokenizer = testing::TinyVocab::none},
      {.numerics = Numerics::exact});
}
Session session(const Model& m) {
  return Session::make(
             m, {.max_tokens = 256, .max_sequences = 2, .max_rows = 256, .max_logit_rows = 256, .kv = DType::f32})
      .value();
}
float value(const Heard& heard, int32_t position, int32_t layer) {
  return std::bit_cast<float>(heard.at({position, layer}));
}
Heard heard_of(Session& s, std::span<const int32_t> ids, int32_t chunk, Signal signal) {
  Heard heard;
  const Policy policy = hear{signal, &heard};
  testing::run(s, ids, {.chunk = chunk, .kind = RowKind::generated, .policy = policy.ref()});
  return heard;
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return ab / std::sqrt(aa * bb);
}

constexpr double kCosine = 2e-5;  // tests/engine/signals_test.cc

TEST(Diversity, IsOneMinusTheNearestOfTheEightRowsBefore) {
  for (const char* family : {"gemma3", "llama", "qwen2", "qwen3"}) {
    SCOPED_TRACE(family);
    const Model m = model(family);
    const auto ids = random_ids(24, kVocab, 4);
    std::vector<std::vector<std::vector<double>>> states;
    testing::plain_logits(m, ids, {.states = &states});
    Session s = session(m);
    const Heard heard = heard_of(s, ids, 5, Signal::diversity);
    ASSERT_EQ(heard.size(), ids.size() * (kLayers - 1));
    bool nine_differ = false;  // a row nine places before would have been nearer
    for (int32_t layer = 1; layer < kLayers; ++layer) {
      const auto& at = states[2 * size_t(layer)];
      EXPECT_TRUE(std::isnan(value(heard, 0, layer))) << "nothing to compare with";
      for (int32_t p = 1; p < std::ssize(ids); ++p) {
        double nearest = -1;
        for (int32_t q = std::max(0, p - kRecentRows); q < p; ++q) {
          nearest = std::max(nearest, cosine(at[size_t(p)], at[size_t(q)]));
        }
        EXPECT_NEAR(value(heard, p, layer), std::max(0.0, 1 - nearest), kCosine) << p << " at " << layer;
        for (int32_t q = 0; q < p - kRecentRows; ++q) {
          nine_differ |= cosine(at[size_t(p)], at[size_t(q)]) > nearest + 100 * kCosine;
        }
      }
    }
    EXPECT_TRUE(nine_differ);
  }
}

TEST(AttentionReceived, IsTheShareThatARowGivesToItself) {
  for (const char* family : {"gemma3", "llama", "qwen2", "qwen3"}) {
    SCOPED_TRACE(family);
    const Model m = model(family);
    const auto ids = random_ids(24, kVocab, 4);
    std::vector<std::vector<double>> shares;
    testing::plain_logits(m, ids, {.own_shares = &shares});
    Session s = session(m);
    const Heard heard = heard_of(s, ids, 5, Signal::attention_received);
    for (int32_t layer = 1; layer < kLayers; ++layer) {
      EXPECT_NEAR(value(heard, 0, layer), 1, 1e-5) << "the first row has nothing else to look at";
      for (int32_t p = 1; p < std::ssize(ids); ++p) {
        // Scores err as states do, 8e-6 of themselves, and lie below 10; a share errs twice as much.
        EXPECT_NEAR(value(heard, p, layer), shares[size_t(layer) - 1][size_t(p)], 2e-4) << p << " at " << layer;
      }
    }
  }
}

// 200 rows: more than are kept.
TEST(LookingSignals, AreTheSameInStepsOfAnySize) {
  const Model m = model();
  const auto ids = random_ids(200, kVocab, 6);
  for (const Signal signal : {Signal::diversity, Signal::attention_received}) {
    Session s = session(m);
    const Heard one = heard_of(s, ids, 1, signal);
    for (const int32_t chunk : {7, 64, 200}) EXPECT_EQ(heard_of(s, ids, chunk, signal), one) << chunk;
  }
}

TEST(LookingSignals, DoNotDependOnASequenceBesideThem) {
  const Model m = model();
  const auto ids = random_ids(20, kVocab, 6), others = random_ids(20, kVocab, 7);
  for (const Signal signal : {Signal::diversity, Signal::attention_received}) {
    Session alone = session(m), both = session(m);
    const Heard expected = heard_of(alone, ids, 1, signal);
    Heard heard, unheard;
    const Policy policy = hear{signal, &heard};
    for (int32_t p = 0; p < 20; ++p) {  // the other sequence's rows are of the prompt, and nobody hears them
      const Row rows[] = {{.token = others[size_t(p)], .sequence = 1, .position = p},
                          {.token = ids[size_t(p)], .position = p, .kind = RowKind::generated}};
      both.step(rows, policy.ref()).value();
    }
    EXPECT_EQ(heard, expected);
  }
}

// A mean over heads is there where all heads are; rows with all of them hang on no row without.
TEST(AttentionReceived, IsMissingOfRowsWithoutSomeHeadsAndTheSameBesideThem) {
  const Model m = model();
  const auto ids = random_ids(20, kVocab, 6), others = random_ids(20, kVocab, 7);
  Heard expected, whole, quiet;
  const silence_heads silent{.heads = {{2, 1}, {2, 2}, {4, 1}}};
  const Policy alone = silent | hear{Signal::attention_received, &expected, RowKind::prompt};
  const Policy beside = silent | hear{Signal::attention_received, &whole, RowKind::prompt};
  const Policy without = silent | hear{Signal::attention_received, &quiet};
  Session one = session(m), both = session(m), other = session(m);
  testing::run(one, ids, {.chunk = 4, .policy = alone.ref()});
  testing::run(other, others, {.chunk = 4, .kind = RowKind::generated, .policy = without.ref()});
  for (int32_t p = 0; p < 20; ++p) {
    const Row rows[] = {{.token = others[size_t(p)], .sequence = 1, .position = p, .kind = RowKind::generated},
                        {.token = ids[size_t(p)], .position = p}};
    both.step(rows, beside.ref()).value();
  }
  EXPECT_EQ(whole, expected);
  for (const auto& [place, bits] : quiet) {
    EXPECT_EQ(std::isnan(std::bit_cast<float>(bits)), place[1] == 2 || place[1] == 4) << place[1];
  }
}

// Rows of the prompt are part of what generated rows look back on.
TEST(Diversity, LooksBackOnThePromptAndNotOnRowsThatLeftBefore) {
  const Model m = model();
  const auto ids = random_ids(20, kVocab, 6);
  Session s = session(m);
  const Heard expected = heard_of(s, ids, 20, Signal::diversity);
  Heard heard;
  const Policy policy = hear{Signal::diversity, &heard};
  s.truncate(0, 0).value();
  std::vector<Row> rows;
  for (int32_t p = 0; p < 20; ++p) {
    rows.push_back({.token = ids[size_t(p)], .position = p, .kind = p < 12 ? RowKind::prompt : RowKind::generated});
  }
  s.step(rows, policy.ref()).value();
  EXPECT_EQ(heard.size(), 8u * (kLayers - 1));
  for (const auto& [place, bits] : heard) EXPECT_EQ(bits, expected.at(place)) << place[0] << " at " << place[1];

  Heard by_one, at_once;
  for (Heard* of : {&by_one, &at_once}) {
    const Policy leaving = odd_rows_leave{} | hear{Signal::diversity, of};
    testing::run(s, ids, {.chunk = of == &by_one ? 1 : 20, .kind = RowKind::generated, .policy = leaving.ref()});
  }
  EXPECT_EQ(by_one, at_once);
  EXPECT_EQ(by_one.count({3, 2}), 1u);
  EXPECT_EQ(by_one.count({3, 3}), 0u);
  EXPECT_EQ(by_one.at({4, 2}), expected.at({4, 2})) << "row 3 came to boundary 2";
  EXPECT_FALSE(std::isnan(value(by_one, 4, 3))) << "rows 0 and 2 are there";
}

TEST(Diversity, AfterARollbackIsAsIfTheRowsHadNeverBeen) {
  const Model m = model();
  const auto first = random_ids(60, kVocab, 6), second = random_ids(30, kVocab, 8);
  std::vector<int32_t> kept(first.begin(), first.begin() + 20);
  kept.insert(kept.end(), second.begin(), second.end());
  Session fresh = session(m), rolled = session(m);
  const Heard expected = heard_of(fresh, kept, 1, Signal::diversity);
  Heard heard;
  const Policy policy = hear{Signal::diversity, &heard};
  testing::run(rolled, first, {.chunk = 4, .kind = RowKind::generated, .policy = policy.ref()});
  rolled.truncate(0, 20).value();
  heard.clear();
  for (int32_t p = 20; p < 50; ++p) {
    const Row row{.token = kept[size_t(p)], .position = p, .kind = RowKind::generated};
    rolled.step({&row, 1}, policy.ref()).value();
  }
  ASSERT_EQ(heard.size(), 30u * (kLayers - 1));
  for (const auto& [place, bits] : heard) EXPECT_EQ(bits, expected.at(place)) << place[0] << " at " << place[1];
}

// What is not known any more is missing, and nothing is taken for it.
TEST(Diversity, IsMissingUntilEightRowsAreKnownAgain) {
  const Model m = model();
  const auto ids = random_ids(200, kVocab, 6);
  Session s = session(m);
  Heard heard;
  const Policy policy = hear{Signal::diversity, &heard};
  const auto run_from = [&](int32_t from, int32_t to, PolicyRef under) {
    for (int32_t p = from; p < to; ++p) {
      const Row row{.token = ids[size_t(p)], .position = p, .kind = RowKind::generated};
      s.step({&row, 1}, under).value();
    }
  };
  const auto missing = [&](int32_t p) { return std::isnan(value(heard, p, 3)); };
  run_from(0, 200, policy.ref());
  s.truncate(0, 40).value();  // rows 32 to 39 are overwritten
  heard.clear();
  run_from(40, 60, policy.ref());
  for (int32_t p = 40; p < 60; ++p) EXPECT_EQ(missing(p), p < 48) << p;
  run_from(60, 65, {});  // nobody asked about these
  heard.clear();
  run_from(65, 80, policy.ref());
  for (int32_t p = 65; p < 80; ++p) EXPECT_EQ(missing(p), p < 73) << p;
}

TEST(LookingSignals, CostWhatTheyArePricedAtAndNoHead) {
  const Model m = model();
  const auto ids = random_ids(12, kVocab, 6);
  const ModelConfig& config = m.config();
  const double cosine = 3.0 * config.d_model;
  const auto macs = [&](const Policy& policy, size_t row) {
    Session s = session(m);
    return testing::run(s, ids, {.chunk = 1, .kind = RowKind::generated, .policy = policy.ref()}).rows[row].macs;
  };
  const double full = macs(Policy(), 10);
  const auto costs = [&](const char* text) {
    return macs(Policy::parse(std::string(text) + " | min_depth(6)").value(), 10) - full;
  };
  const auto added = [&](Signal signal) {
    Heard heard;
    return macs(hear{signal, &heard} | max_depth{.layers = kLayers}, 10) - full;
  };
  EXPECT_EQ(costs("exit_when(signal=diversity, below=0)"), 0) << "a limit that restores leaves nothing to ask";
  EXPECT_EQ(added(Signal::similarity), (kLayers - 1) * cosine);
  EXPECT_EQ(added(Signal::similarity_attention), (kLayers - 1) * cosine);
  EXPECT_EQ(added(Signal::diversity), (kLayers - 1) * 8 * cosine);
  double shares = 0;
  for (size_t l = 0; l + 1 < config.layers.size(); ++l) shares += config.layers[l].heads * config.layers[l].head_dim;
  EXPECT_EQ(added(Signal::attention_received), shares);
  EXPECT_EQ(added(Signal::last_entropy), 0);
  EXPECT_GE(added(Signal::exit_confidence), (kLayers - 1.0) * kVocab * config.d_model);
}

TEST(LookingSignals, LetRowsLeaveByThem) {
  const Model m = model();
  const auto ids = random_ids(30, kVocab, 6);
  for (const Signal signal : {Signal::similarity, Signal::diversity, Signal::attention_received}) {
    Session s = session(m);
    const Heard heard = heard_of(s, ids, 1, signal);
    std::vector<float> values;
    for (int32_t p = 9; p < 30; ++p) values.push_back(value(heard, p, 3));
    std::nth_element(values.begin(), values.begin() + 10, values.end());
    const Policy policy = exit_when{.signal = signal, .at_least = values[10], .from_layer = 3, .every = kLayers};
    const auto out = testing::run(s, ids, {.chunk = 1, .kind = RowKind::generated, .policy = policy.ref()});
    // Up to the first row that leaves the cache is that of full depth, and so are the values.
    for (int32_t p = 0; p < 30; ++p) {
      const bool leaves = value(heard, p, 3) >= values[10];
      EXPECT_EQ(out.rows[size_t(p)].depth, leaves ? 3 : kLayers) << kSignalNames[int(signal)] << " at " << p;
      if (leaves) break;
    }
  }
}

}  // namespace
}  // namespace fathom
