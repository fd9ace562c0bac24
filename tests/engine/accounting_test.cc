// What is counted: multiply-adds by hand, what a sequence's history tells its rows, and what perplexity compares.
// Next: tests/engine/history_test.cc.
#include <gtest/gtest.h>

#include <cmath>

#include "fathom/engine/generate.h"
#include "fathom/engine/perplexity.h"
#include "fathom/engine/work.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Outcome;
using testing::random_ids;

// Writes down what it sees.
struct watch {
  std::vector<Step>* seen;
  static constexpr StageTraits traits{"watch", StageKind::limit};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    seen->push_back(step);
    return decision;
  }
};

// Lets rows leave after one to five layers.
struct leave_by_position {
  static constexpr StageTraits traits{"leave_by_position", StageKind::proposal};
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer > step.position % 5) decision.verdict = Verdict::exit;
    return decision;
  }
};

TEST(WorkModel, CountsProductsAndTheCellsARowSees) {
  // d 64, four heads of 16, two of keys and values, inner width 96, 384 words; the sixth layer sees all cells.
  const Model model = testing::tiny_model({.family = "gemma3", .n_layers = 6, .window = 8});
  ASSERT_EQ(model.config().layers[0].window, 8);
  ASSERT_EQ(model.config().layers[5].window, 0);
  const WorkModel work(model.config());
  const double project = 64.0 * (64 + 32 + 32 + 64), cell = 2.0 * 64;
  EXPECT_EQ(work.attention(1, 0), project + cell);
  EXPECT_EQ(work.attention(1, 3), project + 4 * cell);
  EXPECT_EQ(work.attention(1, 7), project + 8 * cell);
  EXPECT_EQ(work.attention(1, 20), project + 8 * cell);
  EXPECT_EQ(work.attention(6, 20), project + 21 * cell);
  EXPECT_EQ(work.feed_forward(1), 3.0 * 64 * 96);
  EXPECT_EQ(work.fill(1), 64.0 * (32 + 32));
  EXPECT_EQ(work.fill_above(0), 6 * 64.0 * 64);
  EXPECT_EQ(work.fill_above(6), 0);
  EXPECT_EQ(work.head(), 384.0 * 64);
  const double layers = 6 * (project + 3.0 * 64 * 96) + cell * (5 * 8 + 21);
  EXPECT_EQ(work.full(20, false), layers);
  EXPECT_EQ(work.full(20, true), layers + 384.0 * 64);
}

// Past the window of layers that all have one, every row costs the same.
TEST(History, CountsWhatGeneratedRowsSpentAndNothingOfThePrompt) {
  const Model model = testing::tiny_model({.family = "gemma3", .n_layers = 4, .window = 8});
  for (const LayerSpec& spec : model.config().layers) ASSERT_EQ(spec.window, 8);
  const WorkModel work(model.config());
  const double each = (work.layer(1, 8) + work.layer(2, 8) + work.fill_above(2) + work.head()) / work.full(8, true);
  ASSERT_LT(each, 0.9);
  std::vector<Step> seen;
  const Policy policy = exit_at{.layer = 2} | watch{&seen};
  Session s = Session::make(model, {.max_tokens = 64, .max_rows = 16, .max_logit_rows = 16}).value();
  std::vector<Row> prompt;
  for (int32_t p = 0; p < 8; ++p) prompt.push_back({.token = 9 + p, .position = p, .logits = p == 7});
  s.step(prompt, policy.ref()).value();
  for (int32_t n = 0; n < 3; ++n) {
    seen.clear();
    const Row row{.token = 30 + n, .position = 8 + n, .kind = RowKind::generated, .logits = true};
    s.step({&row, 1}, policy.ref()).value();
    ASSERT_FALSE(seen.empty());
    for (const Step& step : seen) {
      EXPECT_EQ(step.generated, n);
      EXPECT_FLOAT_EQ(step.work_rows, static_cast<float>(n + 1));
      EXPECT_FLOAT_EQ(step.work_spent, static_cast<float>(n * each));
    }
  }
}

TEST(Generate, ChoosesWhatTheSamplerChoosesForEachPositionAndHistory) {
  const Model model = testing::tiny_model({.n_layers = 3, .tokenizer = testing::TinyVocab::family});
  SampleOptions options{.temperature = 0.9f, .seed = 77, .repeat_penalty = 1.3f};
  for (int32_t id = 0; id < model.config().vocab; ++id) {
    if (model.tokenizer().ends_text(id)) options.bias.push_back({id, -INFINITY});
  }
  Session s = Session::make(model, {.max_tokens = 64, .max_rows = 3}).value();
  const auto prompt = random_ids(7, model.config().vocab, 12);
  const Generation out = generate(s, prompt, {.max_new_tokens = 24, .sample = options, .sequence = 5}).value();
  ASSERT_EQ(out.tokens.size(), 24u);
  std::vector<int32_t> text = prompt;
  text.insert(text.end(), out.tokens.begin(), out.tokens.end());
  const Outcome logits = testing::run(s, text, {.chunk = 1});
  bool history_matters = false, position_matters = false;
  for (size_t i = 0; i < out.tokens.size(); ++i) {
    const size_t at = prompt.size() + i, vocab = static_cast<size_t>(model.config().vocab);
    const auto row = std::span(logits.logits).subspan((at - 1) * vocab, vocab);
    const auto before = std::span<const int32_t>(text).first(at);
    const auto position = static_cast<int64_t>(at);
    EXPECT_EQ(out.tokens[i], sample(row, options, 5, position, before)) << "position " << at;
    history_matters |= out.tokens[i] != sample(row, options, 5, position, {});
    position_matters |= out.tokens[i] != sample(row, options, 5, 0, before);
  }
  EXPECT_TRUE(history_matters) << "a penalty that changes no choice proves nothing";
  EXPECT_TRUE(position_matters);
}

// KL(p || q) of two rows of logits, nats.
double divergence(std::span<const float> p, std::span<const float> q) {
  double p_sum = 0, q_sum = 0, kl = 0;
  for (size_t i = 0; i < p.size(); ++i) p_sum += std::exp(double(p[i])), q_sum += std::exp(double(q[i]));
  for (size_t i = 0; i < p.size(); ++i) {
    kl += std::exp(p[i]) / p_sum * ((p[i] - std::log(p_sum)) - (q[i] - std::log(q_sum)));
  }
  return kl;
}

TEST(Perplexity, MeasuresFullDepthAgainstThePolicyAndNamesEachTokensDepth) {
  const Model model = testing::tiny_model({.n_layers = 6});
  const auto text = random_ids(32, model.config().vocab, 2);
  const Policy policy = leave_by_position{};
  const auto make = [&] {
    return Session::make(model, {.max_tokens = 64, .max_sequences = 2, .max_rows = 16, .max_logit_rows = 16}).value();
  };
  Session s = make(), by_hand = make();
  const Perplexity out = perplexity(s, text, {.window = 32, .policy = policy}).value();
  const Outcome full = testing::run(by_hand, text, {.chunk = 8, .kind = RowKind::generated});
  const Outcome saved = testing::run(by_hand, text, {.chunk = 8, .kind = RowKind::generated, .policy = policy.ref()});
  double kl = 0, reversed = 0, depth = 0;
  bool mixed = false;
  for (size_t p = 0; p < text.size(); ++p) {
    const size_t vocab = static_cast<size_t>(model.config().vocab);
    const auto a = std::span(full.logits).subspan(p * vocab, vocab),
               b = std::span(saved.logits).subspan(p * vocab, vocab);
    kl += divergence(a, b) / 32;
    reversed += divergence(b, a) / 32;
    depth += saved.rows[p].depth / 32;
    mixed |= saved.rows[p].depth != saved.rows[0].depth;
    if (p + 1 == text.size()) continue;
    EXPECT_EQ(out.tokens[p + 1].depth, saved.rows[p].depth);
  }
  EXPECT_TRUE(mixed);
  // log_sum is a float of about 7: 5e-7 of it for each of the two rows; the sums themselves are in double precision.
  constexpr double kFloatLogSum = 1e-6;
  EXPECT_GT(std::abs(kl - reversed), 100 * kFloatLogSum) << "directions that agree prove nothing";
  EXPECT_NEAR(out.kl, kl, kFloatLogSum);
  EXPECT_NEAR(out.mean_depth, depth, 1e-9);
}

}  // namespace
}  // namespace fathom
