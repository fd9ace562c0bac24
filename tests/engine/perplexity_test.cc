// perplexity(): which cells are scored, and what the comparison with full depth says.
#include "fathom/engine/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::random_ids;

Session session(const Model& model, int32_t sequences, int32_t rows = 16) {
  return Session::make(model, {.max_tokens = 64, .max_sequences = sequences, .max_rows = rows, .max_logit_rows = rows})
      .value();
}

TEST(Perplexity, IsTheExponentOfTheMeanOverTheSecondHalfOfWholeWindows) {
  for (const char* family : {"qwen2", "gemma3"}) {  // without and with a beginning-of-text token
    SCOPED_TRACE(family);
    const Model model = testing::tiny_model({.family = family});
    const bool bos = model.tokenizer().adds_bos();
    ASSERT_EQ(bos, std::string(family) == "gemma3");
    const auto text = random_ids(40, model.config().vocab, 2);
    Session s = session(model, 1);
    const Perplexity out = perplexity(s, text, {.window = 16}).value();
    ASSERT_EQ(out.tokens.size(), text.size());
    // By hand: windows of 16 cells one at a time.
    double sum = 0;
    int64_t n = 0;
    const int32_t stride = bos ? 15 : 16;
    for (int32_t at = 0; at < 40; at += stride) {
      std::vector<int32_t> cells(bos ? 1 : 0, model.tokenizer().bos());
      cells.insert(cells.end(), text.begin() + at, text.begin() + std::min(40, at + stride));
      const testing::Outcome run = testing::run(s, cells, {.chunk = 1});
      const size_t vocab = size_t(model.config().vocab);
      const ScoredToken& first = out.tokens[size_t(at)];
      EXPECT_EQ(first.argmax == -1, !bos);
      EXPECT_EQ(std::isnan(first.nll), !bos);
      EXPECT_EQ(std::isnan(first.depth), !bos) << "no row predicted it";
      for (size_t p = 0; p + 1 < cells.size(); ++p) {
        const float* logits = run.logits.data() + p * vocab;
        double z = 0;
        for (size_t i = 0; i < vocab; ++i) z += std::exp(double(logits[i]));
        const double nll = std::log(z) - logits[size_t(cells[p + 1])];
        const ScoredToken& token = out.tokens[size_t(at) + p + (bos ? 0 : 1)];
        EXPECT_NEAR(token.nll, nll, 1e-4);
        EXPECT_EQ(token.id, cells[p + 1]);
        EXPECT_EQ(token.depth, run.rows[p].depth);
        EXPECT_EQ(token.argmax, std::max_element(logits, logits + vocab) - logits);
        EXPECT_EQ(token.scored, cells.size() == 16 && p >= 8);
        if (!token.scored) continue;
        sum += nll;
        ++n;
      }
    }
    EXPECT_EQ(out.n_scored, n);
    EXPECT_EQ(n, 14);
    EXPECT_NEAR(out.perplexity, std::exp(sum / double(n)), 1e-3 * out.perplexity);
    EXPECT_EQ(out.agreement, 1);
    EXPECT_EQ(out.kl, 0);
    EXPECT_DOUBLE_EQ(out.work, 1);
  }
}

TEST(Perplexity, ComparesAPolicyWithFullDepthAtEveryPosition) {
  const Model model = testing::tiny_model({.n_layers = 6});
  const auto text = random_ids(40, model.config().vocab, 2);
  Session s = session(model, 2);
  const Perplexity full = perplexity(s, text, {.window = 16}).value();
  const Perplexity saved = perplexity(s, text, {.window = 16, .policy = exit_at{.layer = 3}}).value();
  EXPECT_EQ(saved.mean_depth, 3);
  EXPECT_LT(saved.work, 1);
  EXPECT_GT(saved.kl, 0);
  // A policy whose saving never comes agrees everywhere.
  const Perplexity never =
      perplexity(s, text, {.window = 16, .policy = exit_when{.confidence_at_least = 1.0f}}).value();
  EXPECT_EQ(never.agreement, 1);
  EXPECT_EQ(never.kl, 0);
  EXPECT_EQ(never.perplexity, full.perplexity);
  EXPECT_GT(never.work, 1) << "checks are counted";
  int64_t agreed = 0, seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (full.tokens[i].argmax < 0) continue;
    ++seen;
    agreed += full.tokens[i].argmax == saved.tokens[i].argmax;
  }
  EXPECT_NEAR(saved.agreement, double(agreed) / double(seen), 3.0 / double(seen))
      << "the last row of a window counts too";
}

TEST(Perplexity, IsTheSameWhateverRunsSideBySide) {
  const Model model = testing::tiny_model({.n_layers = 6});
  const auto text = random_ids(90, model.config().vocab, 2);
  for (const char* policy_text : {"exit_at(layer=3)", "budget(of_full=0.6)", "skip_when(similarity_above=0.9)"}) {
    SCOPED_TRACE(policy_text);
    const Policy policy = Policy::parse(policy_text).value();
    Session two = session(model, 2, 2), many = session(model, 8, 64);
    const Perplexity a = perplexity(two, text, {.window = 16, .policy = policy}).value();
    const Perplexity b = perplexity(many, text, {.window = 16, .policy = policy}).value();
    EXPECT_EQ(a.perplexity, b.perplexity);
    EXPECT_EQ(a.agreement, b.agreement);
    EXPECT_EQ(a.work, b.work) << "multiply-adds are whole numbers: their sums are exact";
    EXPECT_EQ(a.mean_depth, b.mean_depth);
    EXPECT_LT(a.work, 1);
  }
}

TEST(Perplexity, EndsWithinAWindowWhenItsCallerSaysSo) {
  Session s = session(testing::tiny_model(), 1, 4);
  const std::vector<int32_t> text(40, 4);
  int calls = 0;
  const auto stop = [](void* context, int64_t done, int64_t total) {
    EXPECT_EQ(done, 0);
    EXPECT_EQ(total, 3);
    return ++*static_cast<int*>(context) < 3;
  };
  const auto result = perplexity(s, text, {.window = 16, .on_progress = stop, .context = &calls});
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::cancelled);
  EXPECT_EQ(calls, 3);
}

TEST(Perplexity, RefusesBadRequests) {
  const Model model = testing::tiny_model();
  Session s = session(model, 1);
  const std::vector<int32_t> text(20, 4);
  EXPECT_NE(perplexity(s, text, {.window = 7}).error().message.find("window 7"), std::string::npos);
  EXPECT_NE(perplexity(s, text, {.window = 65}).error().message.find("window 65"), std::string::npos);
  EXPECT_NE(perplexity(s, {}, {.window = 16}).error().message.find("empty"), std::string::npos);
  EXPECT_NE(perplexity(s, text, {.window = 16, .policy = exit_at{.layer = 2}}).error().message.find("max_sequences"),
            std::string::npos);
}

}  // namespace
}  // namespace fathom
