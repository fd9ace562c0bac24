// Behind kv(verify) the tokens are those of full depth, whatever is drafted, by whom, and however much of it.
#include <gtest/gtest.h>

#include "fathom/engine/generate.h"
#include "tests/engine/lossless_support.h"
#include "tests/support/sessions.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

using testing::Dice;
using testing::Oracle;
using testing::random_ids;

constexpr int32_t kLayers = 5;

Session session(const Model& model, int32_t max_tokens = 128) {
  return Session::make(model, {.max_tokens = max_tokens, .max_sequences = 2, .max_rows = 64, .max_logit_rows = 64})
      .value();
}

// Ways of choosing tokens; every one of them must survive drafting.
std::vector<SampleOptions> samplings() {
  return {{},
          {.temperature = 0.8f, .seed = 3},
          {.temperature = 1.3f, .top_k = 20, .seed = 4, .repeat_penalty = 1.3f, .penalty_last = 16},
          {.temperature = 1, .top_p = 0.9f, .min_p = 0.02f, .seed = 5, .presence_penalty = 0.4f},
          {.seed = 6, .frequency_penalty = 0.7f, .penalty_last = -1}};
}

const char* const kPolicies[] = {
    "draft_ngram | kv(verify)",
    "draft_ngram | kv(verify, max_rows=2)",
    "exit_at(2) | kv(verify)",
    "exit_at(4) | draft_ngram | kv(verify, max_rows=16)",
    "skip_layers([2,3]) | kv(verify, max_rows=4)",
    "skip_layers([1,5]) | draft_ngram | kv(verify)",
    "skip_sublayers(attention=[2], feed_forward=[3]) | kv(verify)",
    "silence_heads([2:1,2:2,4:3]) | kv(verify)",
    "silence_heads([1:4], factor=0.5) | skip_layers([3]) | draft_ngram | kv(verify, max_rows=4)",
    "exit_when(0.02, from_layer=2) | kv(verify)",
    "patience(2) | kv(verify, max_rows=3)",
    "exit_when(signal=diversity, at_least=0.3, from_layer=2) | draft_ngram | kv(verify, max_rows=5)",
    "exit_when(signal=attention_received, below=0.2) | kv(verify)",
    "skip_when(0.9) | exit_at(3) | draft_ngram | kv(verify, max_rows=64)",
    "exit_at(1) | budget(0.5) | kv(verify)",
    "defer_head(16) | kv(verify)",
    "defer_head(200) | draft_ngram | kv(verify, max_rows=16)",
    "exit_at(3) | defer_head(64) | kv(verify)",
    "exit_when(0.05, from_layer=2) | defer_head(100) | kv(verify, max_rows=4)",
    "exit_when(0.02, from_layer=2) | screen_checks(40) | kv(verify)",
    "screen_head | draft_ngram | kv(verify)",
    "screen_head | defer_head(64) | draft_ngram | kv(verify)",
    "exit_at(3) | screen_head | kv(verify, max_rows=5)",
    "exit_at(2) | min_depth(3) | full_depth_first(5) | kv(verify)",
};

// The next step after the text has the same bits in both sessions only if their caches are the same.
void expect_same_state(Session& a, Session& b, const char* what) {
  ASSERT_EQ(std::vector(a.tokens().begin(), a.tokens().end()), std::vector(b.tokens().begin(), b.tokens().end()))
      << what;
  EXPECT_EQ(a.owed(), 0) << what;
  if (a.length() == a.options().max_tokens) return;
  const Row row{.token = 11, .position = a.length(), .logits = true};
  const auto bits = [&](Session& s) {
    const StepResult result = s.step({&row, 1}).value();
    return std::vector<float>(result.logits.data(), result.logits.data() + result.logits.size());
  };
  EXPECT_EQ(bits(a), bits(b)) << what;
}

class Lossless : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  const char* family() const { return std::get<0>(GetParam()); }
  Policy policy() const { return Policy::parse(std::get<1>(GetParam())).value(); }
  Model model() const {
    return testing::tiny_model({.family = family(), .n_layers = kLayers, .type = DType::q8_0},
                               {.screen_head = policy().settings().screen_head});
  }
};

TEST_P(Lossless, GivesTheTokensOfFullDepthWhateverIsChosen) {
  const Model m = model();
  Session full = session(m), drafted = session(m);
  const auto prompt = random_ids(21, m.config().vocab, 9 + testing::run_seed());
  uint64_t seed = 1 + testing::run_seed();
  for (SampleOptions sample : samplings()) {
    sample.seed += testing::run_seed();
    const GenerateOptions plain{.max_new_tokens = 60, .sample = sample, .sequence = 7};
    const Generation expected = generate(full, prompt, plain).value();
    for (int run = 0; run < 3; ++run) {
      Dice dice(++seed);
      GenerateOptions options = plain;
      options.policy = policy();
      options.draft_chooser = run < 2 ? &dice : nullptr;  // and the one that people get
      const Generation out = generate(drafted, prompt, options).value();
      EXPECT_EQ(out.tokens, expected.tokens) << "sampling " << sample.seed << ", run " << run;
      EXPECT_EQ(out.text, expected.text);
      EXPECT_EQ(out.stop_reason, expected.stop_reason);
      EXPECT_EQ(out.decoded, expected.decoded);
      EXPECT_LE(out.decode_steps, expected.decode_steps);
      EXPECT_LE(out.accepted, out.proposed);
      expect_same_state(drafted, full, "after the text");
      full.truncate(0, full.length() - 1).value();
    }
  }
}

TEST_P(Lossless, GivesTheTokensOfFullDepthFromASourceOfAnyWorth) {
  if (policy().settings().draft_ngram) GTEST_SKIP() << "has a source of its own";
  const Model m = model();
  Session full = session(m), drafted = session(m);
  const auto prompt = random_ids(5, m.config().vocab, 2 + testing::run_seed());
  const GenerateOptions plain{.max_new_tokens = 70, .sample = {.temperature = 0.9f, .seed = 8}};
  const Generation expected = generate(full, prompt, plain).value();
  for (const double right : {0.0, 0.5, 0.9, 1.0}) {
    Oracle oracle(expected.tokens, right, m.config().vocab, 3);
    Dice dice(static_cast<uint64_t>(100 * right));
    GenerateOptions options = plain;
    options.policy = policy();
    options.draft_source = &oracle;
    options.draft_chooser = &dice;
    const Generation out = generate(drafted, prompt, options).value();
    EXPECT_EQ(out.tokens, expected.tokens) << right;
    EXPECT_EQ(out.drafted.size(), out.tokens.size());
  }
}

TEST_P(Lossless, EndsWhereFullDepthEnds) {
  const Model m = model();
  const auto prompt = random_ids(9, m.config().vocab, 4);
  std::vector<LogitBias> endings;  // make the end of text likely at any place
  for (int32_t id = 0; id < m.config().vocab; ++id) {
    if (m.tokenizer().ends_text(id)) endings.push_back({id, 3});
  }
  for (const int32_t n : {1, 2, 3, 7, 40, 100}) {
    for (const int32_t ctx : {9 + n / 2 + 1, 128}) {
      Session full = session(m, ctx), drafted = session(m, ctx);
      GenerateOptions plain{.max_new_tokens = n, .sample = {.temperature = 1, .seed = 2}};
      if (n == 100) plain.sample.bias = endings;
      const Generation expected = generate(full, prompt, plain).value();
      if (n == 100 && ctx == 128) {
        EXPECT_EQ(expected.stop_reason, StopReason::end_of_text);
      }
      Dice dice(static_cast<uint64_t>(n + ctx));
      GenerateOptions options = plain;
      options.policy = policy();
      options.draft_chooser = &dice;
      const Generation out = generate(drafted, prompt, options).value();
      EXPECT_EQ(out.tokens, expected.tokens) << n << " of " << ctx;
      EXPECT_EQ(out.stop_reason, expected.stop_reason) << n << " of " << ctx;
      expect_same_state(drafted, full, "at the end");
    }
  }
}

TEST_P(Lossless, AStopStringOrACancelInsideADraftLeavesTheSessionOfFullDepth) {
  const Model m = model();
  Session full = session(m), drafted = session(m);
  const auto prompt = random_ids(9, m.config().vocab, 6);
  const GenerateOptions plain{.max_new_tokens = 50, .sample = {.temperature = 1, .seed = 12}};
  const Generation whole = generate(full, prompt, plain).value();
  for (const size_t at : {size_t{1}, whole.text.size() / 3, whole.text.size() / 2}) {
    GenerateOptions stops = plain;
    stops.stop = {whole.text.substr(at, 3)};
    if (stops.stop[0].empty()) continue;
    const Generation expected = generate(full, prompt, stops).value();
    Dice dice(at);
    GenerateOptions options = stops;
    options.policy = policy();
    options.draft_chooser = &dice;
    const Generation out = generate(drafted, prompt, options).value();
    EXPECT_EQ(out.text, expected.text);
    EXPECT_EQ(out.tokens, expected.tokens);
    EXPECT_EQ(out.stop_reason, expected.stop_reason);
    expect_same_state(drafted, full, "after a stop string");
  }
  for (const int after : {1, 2, 5, 11}) {
    const auto run = [&](Session& s, const Policy& p, DraftChooser* chooser) {
      int left = after;
      GenerateOptions options = plain;
      options.policy = p;
      options.draft_chooser = chooser;
      options.context = &left;
      options.on_token = [](void* context, const GeneratedToken& token) {
        return token.id < 0 || --*static_cast<int*>(context) > 0;
      };
      return generate(s, prompt, options).value();
    };
    Dice dice(static_cast<uint64_t>(after));
    const Generation expected = run(full, {}, nullptr), out = run(drafted, policy(), &dice);
    EXPECT_EQ(out.tokens, expected.tokens);
    EXPECT_EQ(out.stop_reason, StopReason::cancelled);
    expect_same_state(drafted, full, "after a cancel");
  }
}

// The next turn of a dialogue goes on from what drafts have left behind.
TEST_P(Lossless, HoldsThroughSeveralTurns) {
  const Model m = model();
  Session full = session(m), drafted = session(m);
  ASSERT_TRUE(full.truncate(0, 0) && drafted.truncate(0, 0));
  for (uint64_t turn = 1; turn <= 4; ++turn) {
    const auto prompt = random_ids(5, m.config().vocab, turn);
    const GenerateOptions plain{.max_new_tokens = 17, .sample = {.temperature = 1, .seed = turn}};
    const Generation expected = generate_more(full, prompt, plain).value();
    Dice dice(turn);
    GenerateOptions options = plain;
    options.policy = policy();
    options.draft_chooser = &dice;
    EXPECT_EQ(generate_more(drafted, prompt, options).value().tokens, expected.tokens) << turn;
  }
}

INSTANTIATE_TEST_SUITE_P(Policies, Lossless,
                         ::testing::Combine(::testing::Values("gemma3", "llama", "qwen2"),
                                            ::testing::ValuesIn(kPolicies)),
                         [](const auto& info) {
                           std::string name = std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
                           for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace fathom
