// What a stage sees: each signal held against the states and logits it is made of, and missing where nobody asked.
// Next: tests/engine/checks_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/plain_forward.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;

constexpr int32_t kLayers = 6;

struct Heard {
  Step step;
  Verdict verdict;
};

// Writes down what it sees of rows of any kind, and reads similarities for rows of one.
struct listen {
  std::vector<Heard>* heard;
  RowKind kind = RowKind::generated;
  static constexpr StageTraits traits{
      "listen", StageKind::limit,
      SignalSet(Signal::similarity) | Signal::similarity_attention | Signal::similarity_feed_forward};
  SignalSet reads_at(int32_t layer, int32_t, RowKind row) const noexcept {
    return layer >= 1 && row == kind ? traits.reads : SignalSet();
  }
  Decision operator()(const Step& step, Decision decision) const noexcept {
    heard->push_back({step, decision.verdict});
    return decision;
  }
};

// Writes down verdicts and reads nothing.
struct watch {
  std::vector<Heard>* heard;
  static constexpr StageTraits traits{"watch", StageKind::limit};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    heard->push_back({step, decision.verdict});
    return decision;
  }
};

struct hear_entropy {
  std::vector<Heard>* heard;
  static constexpr StageTraits traits{"hear_entropy", StageKind::limit, Signal::last_entropy};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    heard->push_back({step, decision.verdict});
    return decision;
  }
};

Model model(const char* family = "qwen2") {
  return testing::tiny_model(
      {.family = family, .n_layers = kLayers, .vocab = 128, .tokenizer = testing::TinyVocab::none},
      {.numerics = Numerics::exact});
}
Session session(const Model& m) {
  return Session::make(m,
                       {.max_tokens = 64, .max_sequences = 2, .max_rows = 32, .max_logit_rows = 32, .kv = DType::f32})
      .value();
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return ab / std::sqrt(aa * bb);
}

// States differ from the plain pass by 8e-6 of their size (tests/engine/fill_test.cc) on either side of the cosine.
constexpr double kCosine = 2e-5;

TEST(Signals, SimilaritiesAreCosinesOfTheStatesAroundALayerAndItsHalves) {
  for (const char* family : {"gemma3", "llama", "qwen2", "qwen3"}) {
    SCOPED_TRACE(family);
    const Model m = model(family);
    const auto ids = random_ids(9, 128, 4);
    std::vector<std::vector<std::vector<double>>> states;
    testing::plain_logits(m, ids, {.states = &states});
    for (const RowKind kind : {RowKind::prompt, RowKind::generated}) {
      std::vector<Heard> heard;
      const Policy policy = listen{&heard, kind};
      Session s = session(m);
      testing::run(s, ids, {.chunk = 4, .kind = kind, .policy = policy.ref()});
      ASSERT_EQ(heard.size(), ids.size() * kLayers);
      double apart = 0;  // the three are told from one another
      for (const Heard& h : heard) {
        if (h.step.layer == 0) {
          EXPECT_TRUE(std::isnan(h.step[Signal::similarity]));
          continue;
        }
        const auto l = static_cast<size_t>(h.step.layer), p = static_cast<size_t>(h.step.position);
        const auto& before = states[2 * l - 2][p];
        const auto& between = states[2 * l - 1][p];
        const auto& after = states[2 * l][p];
        EXPECT_NEAR(h.step[Signal::similarity], cosine(before, after), kCosine);
        EXPECT_NEAR(h.step[Signal::similarity_attention], cosine(before, between), kCosine);
        EXPECT_NEAR(h.step[Signal::similarity_feed_forward], cosine(between, after), kCosine);
        apart = std::max(apart, std::abs(cosine(before, between) - cosine(between, after)));
        EXPECT_TRUE(std::isnan(h.step[Signal::exit_confidence]));
      }
      EXPECT_GT(apart, 100 * kCosine);
    }
  }
}

TEST(Signals, AreMissingForRowsOfAKindThatNobodyAskedAbout) {
  const Model m = model();
  std::vector<Heard> heard;
  const Policy policy = listen{&heard, RowKind::prompt};
  Session s = session(m);
  std::vector<Row> rows;
  for (int32_t p = 0; p < 3; ++p) rows.push_back({.token = 5 + p, .sequence = 0, .position = p});
  for (int32_t p = 0; p < 3; ++p)
    rows.push_back({.token = 9 + p, .sequence = 1, .position = p, .kind = RowKind::generated});
  s.step(rows, policy.ref()).value();
  ASSERT_EQ(heard.size(), 6u * kLayers);
  for (const Heard& h : heard) {
    for (const Signal signal : {Signal::similarity, Signal::similarity_attention, Signal::similarity_feed_forward}) {
      EXPECT_EQ(std::isnan(h.step[signal]), h.step.kind == RowKind::generated || h.step.layer == 0);
    }
  }
}

// Every cosine of these states is above -1: where a signal is there, the part is skipped.
TEST(Signals, AMissingSimilaritySkipsNothingSoEverySecondPartRuns) {
  const Model m = model();
  const std::pair<Part, Verdict> parts[] = {{Part::layer, Verdict::skip_layer},
                                            {Part::attention, Verdict::skip_attention},
                                            {Part::feed_forward, Verdict::skip_feed_forward}};
  for (const auto& [part, verdict] : parts) {
    std::vector<Heard> heard;
    const Policy policy = skip_when{.similarity_above = -1, .part = part} | watch{&heard};
    Session s = session(m);
    std::vector<Row> rows;  // prompt rows run all that the others skip
    for (int32_t p = 0; p < 3; ++p) rows.push_back({.token = 5 + p, .sequence = 0, .position = p});
    for (int32_t p = 0; p < 3; ++p)
      rows.push_back({.token = 9 + p, .sequence = 1, .position = p, .kind = RowKind::generated});
    const StepResult result = s.step(rows, policy.ref()).value();
    const float saved = part == Part::layer ? 3 : 1.5f;
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(result.rows[i].depth, i < 3 ? kLayers : kLayers - saved);
    for (const Heard& h : heard) {
      const bool skips = h.step.kind == RowKind::generated && h.step.layer % 2 == 1;
      EXPECT_EQ(h.verdict, skips ? verdict : Verdict::run) << "boundary " << h.step.layer;
    }
    for (int32_t layer = 1; layer <= kLayers; ++layer) {
      // Layer 2, the first that is skipped, is projected from the right state: exact.
      const bool filled = part != Part::feed_forward && layer % 2 == 0 && layer > 2;
      EXPECT_EQ(s.cache().provenance(layer, 1, 2) == Provenance::filled, filled) << "layer " << layer;
      EXPECT_EQ(s.cache().provenance(layer, 0, 2), Provenance::exact);
    }
  }
}

TEST(Signals, LastEntropyIsThatOfTheSequencesPredictionBefore) {
  const Model m = model();
  std::vector<Heard> heard;
  const Policy policy = hear_entropy{&heard};
  Session s = session(m);
  const auto ids = random_ids(6, 128, 8);
  const Outcome out = testing::run(s, ids, {.chunk = 1, .kind = RowKind::generated, .policy = policy.ref()});
  size_t seen = 0;
  for (const Heard& h : heard) {
    if (h.step.layer == 0) continue;
    ++seen;
    if (h.step.position == 0) {
      EXPECT_TRUE(std::isnan(h.step[Signal::last_entropy]));
      continue;
    }
    const float* logits = out.logits.data() + (h.step.position - 1) * 128;
    double sum = 0, entropy = 0;
    for (int i = 0; i < 128; ++i) sum += std::exp(double(logits[i]));
    for (int i = 0; i < 128; ++i) entropy -= std::exp(logits[i]) / sum * (logits[i] - std::log(sum));
    // Single-precision exponentials and sums of 128: 1e-6 of at most log(128) = 4.9 each way.
    EXPECT_NEAR(h.step[Signal::last_entropy], entropy, 2e-5);
  }
  EXPECT_EQ(seen, 6u * (kLayers - 1));
}

}  // namespace
}  // namespace fathom
