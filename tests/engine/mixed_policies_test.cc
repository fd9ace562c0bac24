// One session under several policies, with limits just large enough, and savings that save nothing.
#include <gtest/gtest.h>

#include "fathom/engine/batch.h"
#include "fathom/engine/generate.h"
#include "tests/engine/lossless_support.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::random_ids;

Policy policy(const char* text) { return Policy::parse(text).value(); }

Model model() { return testing::tiny_model({.n_layers = 5, .type = DType::q8_0}); }

// A text under kv(settle_later) leaves debts; the next turn is verified all the same, and is full depth's on that text.
TEST(MixedPolicies, AVerifiedTurnBehindDebtsIsThatOfFullDepth) {
  const Model m = model();
  const auto first = random_ids(5, m.config().vocab, 1), next = random_ids(6, m.config().vocab, 2);
  for (const char* text : {"draft_ngram | kv(verify)", "defer_head(64) | kv(verify)", "exit_at(3) | kv(verify)"}) {
    Generation out[2];
    int32_t length[2];
    for (const bool verified : {false, true}) {
      Session s = Session::make(m, {.max_tokens = 128}).value();
      generate(s, first, {.max_new_tokens = 9, .policy = policy("exit_at(2) | kv(settle_later)")}).value();
      ASSERT_GT(s.owed(), 0);
      out[verified] =
          generate_more(s, next, {.max_new_tokens = 12, .policy = policy(verified ? text : "full_depth")}).value();
      length[verified] = s.length();
    }
    EXPECT_EQ(out[1].tokens, out[0].tokens) << text;
    EXPECT_EQ(out[1].prompt_tokens, 6) << text;
    EXPECT_EQ(length[1], length[0]) << text;
  }
}

TEST(MixedPolicies, ATextLeavesTheDebtsOfOtherSequencesAlone) {
  const Model m = model();
  Session s = Session::make(m, {.max_tokens = 64, .max_sequences = 2}).value();
  const Policy drafts = policy("exit_at(2) | kv(verify)");
  for (int32_t p = 0; p < 6; ++p) {
    const Row row{.token = 3 + p, .sequence = 1, .position = p, .kind = RowKind::generated, .logits = true};
    ASSERT_TRUE(s.step({&row, 1}, drafts.ref()).has_value());
  }
  generate(s, random_ids(5, m.config().vocab, 1), {.max_new_tokens = 9, .policy = drafts}).value();
  EXPECT_EQ(s.owed(1), 6);
  const Row one{.token = 1, .sequence = 0, .position = s.length(0), .kind = RowKind::generated};
  EXPECT_TRUE(s.step({&one, 1}, policy("exit_at(2) | kv(verify, max_rows=2)").ref()).has_value());
  EXPECT_EQ(s.settle().value().settled.size(), 7u);
}

// A row that owes nothing but its head is done with when a later row runs at full depth.
TEST(MixedPolicies, AHeadThatNobodyAsksForIsNotOwedForEver) {
  const Model m = model();
  Session s = Session::make(m, {.max_tokens = 128}).value();
  const Policy deferred = policy("defer_head(64) | kv(verify)");
  const auto step = [&](const Policy& p) {
    const Row row{.token = 5, .position = s.length(), .kind = RowKind::generated, .logits = true};
    ASSERT_TRUE(s.step({&row, 1}, p.ref()).has_value());
  };
  step({});
  step(deferred);
  EXPECT_EQ(s.owed(), 1);
  step({});
  EXPECT_EQ(s.owed(), 0);
  for (int i = 0; i < 70; ++i) step({});
  step(deferred);
  EXPECT_EQ(s.settle().value().settled.size(), 1u);
}

TEST(MixedPolicies, LimitsTooSmallAreRefusedBeforeATextBegins) {
  const Model m = model();
  const auto prompt = random_ids(5, m.config().vocab, 1);
  Session small = Session::make(m, {.max_tokens = 64, .max_rows = 8}).value();
  const auto refused = generate(small, prompt, {.policy = policy("exit_at(2) | kv(settle_later)")});
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("max_rows 8: 1 texts"), std::string::npos) << refused.error().message;
  EXPECT_TRUE(generate(small, prompt, {.policy = policy("exit_at(2) | kv(settle_later, max_rows=7)")}).has_value());
  Session narrow = Session::make(m, {.max_tokens = 64, .max_sequences = 3, .max_rows = 2}).value();
  const std::vector<BatchItem> items{{prompt}, {prompt}, {prompt}};
  EXPECT_FALSE(generate_batch(narrow, items).has_value());
  Session wide = Session::make(m, {.max_tokens = 64, .max_sequences = 3}).value();
  const auto unknown = generate_batch(wide, std::vector<BatchItem>{{prompt}, {{1, 2, m.config().vocab}}});
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().message.find("item 1: token"), std::string::npos) << unknown.error().message;
  EXPECT_FALSE(wide.was_listed(-1) || wide.was_listed(1 << 30));
}

// Savings that never save cost checks; the chooser that people get gives them up at once.
TEST(MixedPolicies, SavingsThatSaveNothingAreSoonLeftOff) {
  const Model m = model();
  for (const char* text : {"exit_when(1, from_layer=2) | kv(verify)", "patience(5) | kv(verify)",
                           "exit_at(3) | full_depth_first(1000) | kv(verify)", "skip_when(1) | kv(verify)"}) {
    Session s = Session::make(m, {.max_tokens = 256}).value();
    struct Watch final : DraftChooser {
      std::unique_ptr<DraftChooser> real = goodput_chooser();
      int own = 0, passes = 0;
      DraftChoice choose(const DraftOffer& offer) override {
        const DraftChoice choice = real->choose(offer);
        own += choice.own > 0;
        ++passes;
        return choice;
      }
      void learn(const DraftOutcome& outcome) override {
        DraftOutcome steady = outcome;  // a machine on which nothing but rows takes time
        steady.seconds = 1e-3 * outcome.rows;
        steady.own_seconds = 1.2e-3 * outcome.choice.own;
        real->learn(steady);
      }
    } watch;
    const Generation out = generate(s, random_ids(5, m.config().vocab, 1),
                                    {.max_new_tokens = 200, .policy = policy(text), .draft_chooser = &watch})
                               .value();
    EXPECT_EQ(out.tokens.size(), 200u);
    EXPECT_LE(watch.own, 4) << text << " in " << watch.passes << " passes";
  }
}

}  // namespace
}  // namespace fathom
