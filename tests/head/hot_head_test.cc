// The shortlist's logits are the bits of the whole head, whatever came onto the list and left it.
#include "fathom/head/hot_head.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

std::vector<int32_t> listed(const HotHead& hot) { return {hot.tokens().begin(), hot.tokens().end()}; }

TEST(HotHead, KeepsWhatIsUsedAndLetsTheLongestUnusedGo) {
  const Model model = testing::tiny_model();
  const Weights& w = model.weights();
  HotHead hot = HotHead::make(w.head_rows, w.head, 32).value();
  EXPECT_EQ(hot.tokens().size(), 32u);
  std::set<int32_t> kept{300, 301, 7};
  for (int32_t token = 100; token < 280; ++token) {
    const std::vector<int32_t> used{300, 301, 7, token};
    hot.use(used);
    const auto tokens = listed(hot);
    EXPECT_EQ(std::set(tokens.begin(), tokens.end()).size(), 32u) << "each token once";
    for (const int32_t k : kept) EXPECT_NE(std::find(tokens.begin(), tokens.end(), k), tokens.end()) << token;
    EXPECT_NE(std::find(tokens.begin(), tokens.end(), token), tokens.end());
  }
  const std::vector<int32_t> unknown{-1, 384, 1 << 30};
  const auto before = listed(hot);
  hot.use(unknown);
  EXPECT_EQ(listed(hot), before);
}

TEST(HotHead, OfTheWholeVocabularyIsTheHead) {
  const Model model = testing::tiny_model({.vocab = 384});
  HotHead hot = HotHead::make(model.weights().head_rows, model.weights().head, 5000).value();
  EXPECT_EQ(hot.tokens().size(), 384u);
}

// Guesses under defer_head come from logits that full depth has at those tokens.
TEST(HotHead, ItsLogitsAreTheBitsOfTheHead) {
  for (const DType type : {DType::f32, DType::f16, DType::q8_0, DType::q6_k}) {
    for (const char* family : {"gemma3", "qwen2"}) {
      const Model model = testing::tiny_model({.family = family, .type = type});
      Session full = Session::make(model, {.max_tokens = 64}).value(),
              drafts = Session::make(model, {.max_tokens = 64}).value();
      const Policy policy = defer_head{.hot = 48} | kv{.mode = KvMode::verify, .max_rows = 4};
      const auto ids = testing::random_ids(32, model.config().vocab, 5);
      int64_t compared = 0;
      for (const int32_t id : ids) {
        const Row row{.token = id, .position = full.length(), .kind = RowKind::generated, .logits = true};
        const StepResult a = full.step({&row, 1}).value(), b = drafts.step({&row, 1}, policy.ref()).value();
        ASSERT_EQ(b.tokens.size(), 48u);
        ASSERT_EQ(b.logits.dim(1), 48);
        EXPECT_NE(std::find(b.tokens.begin(), b.tokens.end(), id), b.tokens.end()) << "tokens of the text are listed";
        for (int64_t i = 0; i < 48; ++i, ++compared) {
          EXPECT_EQ(b.logits[0][i], a.logits[0][b.tokens[static_cast<size_t>(i)]]) << family;
        }
        EXPECT_TRUE(b.rows[0].owes);
        EXPECT_EQ(b.rows[0].depth, model.config().n_layers);
        EXPECT_LT(b.rows[0].macs, b.rows[0].full_macs);
        if (drafts.owed() < 4) continue;
        EXPECT_TRUE(drafts.settle({}, policy.ref()).has_value());
      }
      EXPECT_EQ(compared, 32 * 48);
    }
  }
}

}  // namespace
}  // namespace fathom
