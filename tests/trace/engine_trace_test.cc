// Traces of the real engine: what they hold, and that a policy asked about its own run says what it said.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <tuple>

#include "fathom/engine/generate.h"
#include "fathom/trace/replay.h"
#include "tests/support/encoders.h"
#include "tests/support/tiny_model.h"

namespace fathom {
namespace {

constexpr int32_t kTokens = 24;
constexpr const char* kPrompt = "hello there";

Policy policy(const char* text) { return Policy::parse(text).value(); }

// A run of the tiny model, and its trace in a file that is gone when this is.
struct TracedRun {
  std::string path;
  Generation out;

  explicit TracedRun(const Policy& policy) {
    static int number = 0;
    path = ::testing::TempDir() + "fathom_engine_trace_" + std::to_string(getpid()) + "_" + std::to_string(number++);
    const Model model = testing::tiny_model({.family = "qwen2", .n_layers = 6});
    Session session = Session::make(model, {.max_tokens = 128, .max_rows = 8}).value();
    Trace trace = Trace::create(path, {.policy = policy.text(), .n_layers = 6}).value();
    GenerateOptions options{.max_new_tokens = kTokens, .policy = policy, .trace = &trace};
    for (int32_t id = 0; id < model.config().vocab; ++id) {  // a text that goes on
      if (model.tokenizer().ends_text(id)) options.sample.bias.push_back({id, -INFINITY});
    }
    out = generate(session, kPrompt, options).value();
    trace.finish().value();
  }
  TracedRun(const TracedRun&) = delete;
  TracedRun& operator=(const TracedRun&) = delete;
  ~TracedRun() { unlink(path.c_str()); }

  ReplayReport ask(const Policy& other) const {
    TraceReader reader = TraceReader::open(path).value();
    return replay(reader, other.ref()).value();
  }
};

TEST(EngineTrace, APolicyAskedAboutItsOwnRunSaysTheSameOfEveryRow) {
  constexpr const char* kPolicies[] = {
      "full_depth",
      "budget(of_full=0.7)",
      "exit_when(confidence_at_least=0.02) | budget(of_full=0.9)",
      "skip_when(similarity_above=0.5)",
      "skip_when(similarity_above=0.9)",
      "skip_when(similarity_above=0.5) | full_depth_first(tokens=4)",
      "exit_when(confidence_at_least=0.02)",
      "exit_when(entropy_below=5.5)",
      "patience(agreeing=2)",
      "exit_when(confidence_at_least=0.02) | screen_checks(tokens=64) | budget(of_full=0.9)",
      "exit_when(confidence_at_least=0.02) | patience(agreeing=2) | screen_checks(tokens=200)",
      "silence_heads(heads=[2:1,5:4])",
      "silence_heads(heads=[2:1,3:2]) | skip_sublayers(attention=[2], feed_forward=[3]) | full_depth_first(tokens=4)",
      "exit_at(layer=3)",
      "exit_at(layer=3, on=all)",
      "exit_at(layer=2) | full_depth_first(tokens=5)",
  };
  for (const char* text : kPolicies) {
    SCOPED_TRACE(text);
    const TracedRun run(policy(text));
    const ReplayReport report = run.ask(policy(text));
    EXPECT_EQ(report.generated_rows, kTokens - 1);
    EXPECT_EQ(report.rows, run.out.prompt_tokens + kTokens - 1);
    EXPECT_EQ(report.decided_same, report.rows);
    EXPECT_EQ(report.unknown_signal, 0);
    EXPECT_FALSE(report.first_difference);
    EXPECT_NEAR(report.recorded_depth, run.out.mean_depth, 1e-5);
  }
}

// The policies above are worth asking only if they save something here.
TEST(EngineTrace, TheSavingsOfTheTinyModelAreReal) {
  for (const char* text : {"budget(of_full=0.7)", "skip_when(similarity_above=0.5)", "patience(agreeing=2)"}) {
    const TracedRun run(policy(text));
    EXPECT_LT(run.out.mean_depth, 6) << text;
    EXPECT_GT(run.out.mean_depth, 0) << text;
  }
}

TEST(EngineTrace, ARunThatExitsAtALayerHoldsOneExitForEachGeneratedRowAndItsDepth) {
  const TracedRun run(policy("exit_at(layer=4)"));
  TraceReader reader = TraceReader::open(run.path).value();
  std::vector<int32_t> exits_at;
  std::vector<float> depths;  // of rows that chose a token
  std::vector<int32_t> tokens;
  int32_t other_savings = 0;
  for (TraceEvent event; reader.next(event).value();) {
    for (size_t i = 0; i < event.decisions.size(); ++i) {
      if (event.decisions[i].verdict == Verdict::run) continue;
      if (exits(event.decisions[i].verdict) && event.steps[i].kind == RowKind::generated) {
        exits_at.push_back(event.layer);
      } else {
        ++other_savings;
      }
    }
    for (const TraceCommit& commit : event.commits) {
      if (commit.token < 0) continue;
      depths.push_back(commit.depth);
      tokens.push_back(commit.token);
    }
  }
  EXPECT_EQ(exits_at, std::vector<int32_t>(kTokens - 1, 4));
  EXPECT_EQ(other_savings, 0);
  EXPECT_EQ(depths, run.out.depths);
  EXPECT_EQ(tokens, run.out.tokens);
  EXPECT_EQ(depths.front(), 6) << "the prompt's last row runs all layers";
  EXPECT_EQ(depths.back(), 4);
}

TEST(EngineTrace, WhatARunDidNotLookAtIsUnknownToAPolicyThatWould) {
  const TracedRun run(policy("exit_at(layer=4)"));
  for (const char* text :
       {"exit_when(confidence_at_least=0.5)", "patience(agreeing=2)", "skip_when(similarity_above=0.5)"}) {
    const ReplayReport report = run.ask(policy(text));
    EXPECT_EQ(report.unknown_signal, kTokens - 1) << text;
    EXPECT_EQ(report.decided_same, run.out.prompt_tokens) << text;
    EXPECT_EQ(report.decided_differently, 0) << text;
    EXPECT_EQ(report.depth_known_rows, 0) << text;
  }
}

// Texts of several steps: each is a sequence of its step, its rows end with what they cost, and its fates are those
// that the caller has.
TEST(EngineTrace, AnEncodersTraceHoldsDecisionsEndsAndFates) {
  const std::string path = ::testing::TempDir() + "fathom_encoder_trace_" + std::to_string(getpid());
  const Model model = testing::tiny_model({.family = "bert", .n_layers = 4});
  std::vector<std::string> texts;
  std::vector<std::string_view> views;
  for (int i = 0; i < 9; ++i) texts.push_back(testing::text_of_tokens(3 + 7 * i, static_cast<uint64_t>(i)));
  views.assign(texts.begin(), texts.end());
  for (const char* text : {"full_depth", "exit_at(layer=2)", "prune_tokens(keep=0.5)", "merge_tokens(keep=0.4)",
                           "fuse_tokens | prune_tokens(keep=0.6, schedule=linear) | max_loss(attention=0.3)"}) {
    for (const bool explain : {false, true}) {
      SCOPED_TRACE(text);
      Encoder encoder = Encoder::make(model, {.max_tokens = 64, .max_rows = 100, .explain = explain}).value();
      Trace trace = Trace::create(path, {.policy = text, .n_layers = 4, .encodes = true}).value();
      const std::vector<Embedding> got = encoder.embed(views, policy(text), &trace).value();
      trace.finish().value();
      int64_t tokens = 0;
      double depth = 0;
      for (const Embedding& e : got) tokens += e.tokens, depth += double{e.depth} * e.tokens;

      TraceReader reader = TraceReader::open(path).value();
      TraceEvent event;
      size_t steps = 0, told = 0, next = 0;
      while (reader.next(event).value()) {
        steps += event.kind == TraceEvent::Kind::rows;
        for (const TraceFate& fate : event.fates) {
          if (told > 0 && fate.position == 0) ++next;
          ASSERT_LT(next, got.size());
          const TokenFate& want = got[next].fates.at(static_cast<size_t>(fate.position));
          EXPECT_EQ(std::tie(fate.removed_at, fate.joined, fate.share),
                    std::tie(want.removed_at, want.joined, want.share));
          ++told;
        }
      }
      EXPECT_GT(steps, 2u);
      EXPECT_EQ(told, explain ? static_cast<size_t>(tokens) : 0u);

      TraceReader again = TraceReader::open(path).value();
      const ReplayReport same = replay(again, policy(text).ref()).value();
      EXPECT_EQ(same.rows, tokens);
      EXPECT_EQ(same.decided_same, tokens);
      EXPECT_EQ(same.generated_rows, tokens);
      EXPECT_NEAR(same.recorded_depth, depth / static_cast<double>(tokens), 1e-5);
      TraceReader other = TraceReader::open(path).value();
      const ReplayReport r = replay(other, policy("exit_at(layer=1)").ref()).value();
      EXPECT_EQ(r.decided_same + r.decided_differently + r.unknown_signal + r.unknown_after_divergence, tokens);
      EXPECT_EQ(r.decided_same, 0) << "all leave behind the first layer, which no recorded row does";
    }
  }
  unlink(path.c_str());
}

}  // namespace
}  // namespace fathom
