// Replay against a small simulated engine whose signals depend on nothing that a policy does: what replay claims to
// know must be what the simulation of the other policy really gives.
#include "fathom/trace/replay.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <iterator>

#include "fathom/policy/policy.h"
#include "fathom/sample/noise.h"

namespace fathom {
namespace {

constexpr int32_t kLayers = 10;
constexpr SignalSet kNothingLookedAt[2];

// A uniform number that belongs to (sequence, position, layer, which).
float uniform(int32_t sequence, int32_t position, int32_t layer, int which) {
  return static_cast<float>(noise_bits(noise_key(9, sequence * 1000 + position, layer), which) >> 8) * 0x1p-24f;
}

Policy policy(const char* text) { return Policy::parse(text).value(); }

std::string temporary(const std::string& name) {
  return testing::TempDir() + "fathom_replay_" + std::to_string(getpid()) + "_" + name;
}

struct Simulation {
  std::string path;
  std::vector<float> depths;  // [generated rows]

  ~Simulation() { unlink(path.c_str()); }
};

// Signals that the policy reads at a boundary; the count of agreeing checks runs on from check to check.
void look(Step& step, SignalSet reads, int32_t sequence, int& agreeing) {
  const auto value = [&](Signal s) { return uniform(sequence, step.position, step.layer, static_cast<int>(s)); };
  if (reads.any(kExitSignals)) agreeing = value(Signal::agreeing) < 0.7f ? agreeing + 1 : 1;
  for (int s = 0; s < kSignals; ++s) {
    if (reads.has(static_cast<Signal>(s))) step.signals[s] = value(static_cast<Signal>(s));
  }
  if (reads.has(Signal::agreeing)) step.signals[static_cast<int>(Signal::agreeing)] = static_cast<float>(agreeing);
}

// One row through all boundaries: a layer costs 1/10 of a row, a check a quarter of a layer.
void run_row(Simulation& out, Trace& trace, const Policy& policy, const TraceRow& row, int32_t generated,
             float& spent) {
  const PolicyRef ref = policy.ref();
  trace.rows({&row, 1});
  float cost = 0, halves = 0;
  int agreeing = 0;
  for (int32_t layer = 0; layer < kLayers; ++layer) {
    Step step;
    step.layer = layer;
    step.n_layers = kLayers;
    step.position = row.position;
    step.generated = generated;
    step.kind = row.kind;
    const SignalSet reads = ref.table->reads(ref.self, layer, kLayers, row.kind);
    look(step, reads, row.sequence, agreeing);
    if (reads.any(kExitSignals)) cost += 0.025f;
    step.work_spent = spent;
    step.work_rows = static_cast<float>(generated + 1);
    step.work_if_exit = cost;
    step.work_if_run = cost + 0.1f;
    Decision said;
    ref.table->decide(ref.self, &step, &said, 1);
    if (!reads.empty() || said.verdict != Verdict::run || policy.is_sequential()) {
      SignalSet looked_at[2];
      looked_at[static_cast<int>(row.kind)] = reads;
      trace.boundary(looked_at, {&row.sequence, 1}, {&step, 1}, {&said, 1});
    }
    if (exits(said.verdict)) break;
    const auto ran = static_cast<float>(!skips_attention(said.verdict) + !skips_feed_forward(said.verdict));
    halves += ran;
    cost += 0.05f * ran;
  }
  const TraceCommit commit{row.sequence, row.position, 1, halves / 2, cost};
  trace.commit({&commit, 1});
  if (row.kind != RowKind::generated) return;
  spent += cost;
  out.depths.push_back(halves / 2);
}

Simulation simulate(const Policy& policy, int sequences = 1, int rows = 40) {
  static int number = 0;
  Simulation out{temporary(std::to_string(number++)), {}};
  Trace trace = Trace::create(out.path, {.policy = policy.text(), .n_layers = kLayers}).value();
  for (int32_t s = 0; s < sequences; ++s) {
    float spent = 0;
    for (int32_t p = 0; p < 5; ++p) run_row(out, trace, policy, {s, p, 3, RowKind::prompt}, 0, spent);
    for (int32_t p = 0; p < rows; ++p) run_row(out, trace, policy, {s, 5 + p, 3, RowKind::generated}, p, spent);
  }
  trace.finish().value();
  return out;
}

ReplayReport replay_file(const std::string& path, const Policy& policy) {
  TraceReader reader = TraceReader::open(path).value();
  const ReplayReport report = replay(reader, policy.ref()).value();
  EXPECT_EQ(report.decided_same + report.decided_differently + report.unknown_signal + report.unknown_after_divergence,
            report.rows);
  return report;
}

constexpr const char* kPolicies[] = {
    "full_depth",
    "exit_at(layer=7)",
    "exit_when(confidence_at_least=0.9)",
    "exit_when(confidence_at_least=0.9,from_layer=4,every=2)",
    "exit_when(margin_at_least=0.8)",
    "patience(agreeing=4)",
    "patience(agreeing=3,from_layer=2,every=2)",
    "exit_when(confidence_at_least=0.8) | patience(agreeing=5) | min_depth(layers=4)",
    "skip_when(similarity_above=0.8)",
    "skip_layers(layers=[3,4]) | exit_at(layer=8)",
    "exit_when(confidence_at_least=0.97) | budget(of_full=0.6)",
    "exit_at(layer=6) | full_depth_first(tokens=8)",
    "max_depth(layers=5)",
    "budget(of_full=0.5)",
};

TEST(Replay, APolicyDecidesTheSameEverywhereInItsOwnTrace) {
  for (const char* text : kPolicies) {
    const auto parsed = Policy::parse(text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    const Simulation own = simulate(*parsed, 3);
    const ReplayReport report = replay_file(own.path, *parsed);
    EXPECT_EQ(report.rows, 3 * 45) << text;
    EXPECT_EQ(report.generated_rows, 3 * 40) << text;
    EXPECT_EQ(report.decided_same, report.rows) << text;
    EXPECT_DOUBLE_EQ(report.known_depth, report.known_recorded_depth) << text;
  }
}

// Rows of one sequence are known from the first to some last one, so the means are those of the simulation's first
// rows.
TEST(Replay, WhatItKnowsOfAnotherPolicyIsWhatThatPolicyDoes) {
  int pairs_with_news = 0;
  for (const char* recorded : kPolicies) {
    const Simulation trace = simulate(policy(recorded));
    for (const char* other : kPolicies) {
      const ReplayReport report = replay_file(trace.path, policy(other));
      const Simulation truth = simulate(policy(other));
      ASSERT_LE(report.depth_known_rows, 40);
      double depth = 0, recorded_depth = 0;
      for (int64_t i = 0; i < report.depth_known_rows; ++i) depth += truth.depths[i], recorded_depth += trace.depths[i];
      if (report.depth_known_rows == 0) continue;
      EXPECT_NEAR(report.known_depth, depth / double(report.depth_known_rows), 1e-9)
          << other << " on a trace of " << recorded;
      EXPECT_NEAR(report.known_recorded_depth, recorded_depth / double(report.depth_known_rows), 1e-9) << recorded;
      pairs_with_news += report.decided_differently > 0;
    }
  }
  EXPECT_GT(pairs_with_news, 14) << "each policy should differ from some other";
}

TEST(Replay, AnExitInAFullDepthTraceIsKnownOnceForEachSequence) {
  const Simulation trace = simulate(policy("full_depth"), 4);
  const ReplayReport report = replay_file(trace.path, policy("exit_at(layer=3)"));
  EXPECT_EQ(report.decided_same, 4 * 5);  // prompt rows
  EXPECT_EQ(report.decided_differently, 4);
  EXPECT_EQ(report.unknown_after_divergence, 4 * 39);
  EXPECT_EQ(report.unknown_signal, 0);
  EXPECT_EQ(report.known_depth, 3);
  EXPECT_EQ(report.recorded_depth, 10);
  ASSERT_TRUE(report.first_difference);
  EXPECT_EQ(report.first_difference->layer, 3);
  EXPECT_EQ(report.first_difference->position, 5);
  EXPECT_EQ(report.first_difference->replayed, Verdict::exit);
}

TEST(Replay, ASignalThatWasNotRecordedMakesItsRowAndTheRowsAfterItUnknown) {
  const Simulation trace = simulate(policy("full_depth"), 2);
  const ReplayReport report = replay_file(trace.path, policy("exit_when(confidence_at_least=0.5)"));
  EXPECT_EQ(report.decided_same, 2 * 5);
  EXPECT_EQ(report.unknown_signal, 2 * 40);
  EXPECT_EQ(report.depth_known_rows, 0);
  const Simulation margin = simulate(policy("exit_when(margin_at_least=0.5)"), 2);
  EXPECT_EQ(replay_file(margin.path, policy("exit_when(confidence_at_least=0.5)")).unknown_signal, 2 * 40);
}

TEST(Replay, ACountOfAgreeingChecksIsUnknownWhereOtherBoundariesWereChecked) {
  const Simulation trace = simulate(policy("patience(agreeing=3)"), 1);
  const ReplayReport report = replay_file(trace.path, policy("patience(agreeing=3,every=2)"));
  EXPECT_EQ(report.decided_same, 5);
  EXPECT_EQ(report.unknown_signal, 40);
}

TEST(Replay, WorkIsUnknownWhereTheOtherPolicyWouldHaveCheckedLess) {
  const Simulation trace = simulate(policy("exit_when(confidence_at_least=0.999)"), 1);
  const ReplayReport report = replay_file(trace.path, policy("budget(of_full=0.6)"));
  EXPECT_EQ(report.decided_differently, 0);
  EXPECT_EQ(report.unknown_signal, 40);
  // Where the work cannot matter the decision is known.
  EXPECT_EQ(replay_file(trace.path, policy("budget(of_full=0.6) | min_depth(layers=10)")).unknown_signal, 0);
}

// Two texts one after the other in sequence 0.
TEST(Replay, ATextThatBeginsAgainAtPositionZeroIsNotJudgedByTheOneBefore) {
  const Policy full = policy("full_depth");
  Simulation trace{temporary("texts"), {}};
  Trace writer = Trace::create(trace.path, {.n_layers = kLayers}).value();
  for (int text = 0; text < 2; ++text) {
    float spent = 0;
    for (int32_t p = 0; p < 5; ++p) run_row(trace, writer, full, {0, p, 3, RowKind::prompt}, 0, spent);
    for (int32_t p = 0; p < 20; ++p) run_row(trace, writer, full, {0, 5 + p, 3, RowKind::generated}, p, spent);
  }
  writer.finish().value();
  const ReplayReport exits = replay_file(trace.path, policy("exit_at(layer=3)"));
  EXPECT_EQ(exits.decided_same, 2 * 5);
  EXPECT_EQ(exits.decided_differently, 2);
  EXPECT_EQ(exits.unknown_after_divergence, 2 * 19);
  const ReplayReport later = replay_file(trace.path, policy("exit_at(layer=3) | full_depth_first(tokens=8)"));
  EXPECT_EQ(later.decided_same, 2 * (5 + 8)) << "generated rows are counted from the text's beginning";
  EXPECT_EQ(later.decided_differently, 2);
  const ReplayReport unknown = replay_file(trace.path, policy("exit_when(confidence_at_least=0.5)"));
  EXPECT_EQ(unknown.decided_same, 2 * 5);
  EXPECT_EQ(unknown.unknown_signal, 2 * 20);
}

// The first eight rows were checked; the other policy checks nothing and lets them run whatever they spent. What the
// checks cost is in the work of the rows after them, which the budget reads.
TEST(Replay, WorkAfterARowThatWasCheckedOtherwiseIsUnknown) {
  const Policy checks = policy("exit_when(confidence_at_least=1)");
  const Policy budget = policy("budget(of_full=0.6) | full_depth_first(tokens=8)");
  Simulation trace{temporary("checked"), {}};
  Trace writer = Trace::create(trace.path, {.n_layers = kLayers}).value();
  float spent = 0;
  for (int32_t p = 0; p < 20; ++p) {
    run_row(trace, writer, p < 8 ? checks : budget, {0, p, 3, RowKind::generated}, p, spent);
  }
  writer.finish().value();
  const ReplayReport report = replay_file(trace.path, budget);
  EXPECT_EQ(report.decided_same, 8);
  EXPECT_EQ(report.unknown_signal, 12);
  EXPECT_EQ(report.decided_differently, 0);
}

TEST(Replay, ACutTraceCountsTheRowsThatEnded) {
  const Simulation trace = simulate(policy("patience(agreeing=4)"));
  std::ifstream in(trace.path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const std::string cut = file.substr(0, file.size() - 3);
  TraceReader reader = TraceReader::from_bytes(std::as_bytes(std::span(cut.data(), cut.size()))).value();
  const ReplayReport report = replay(reader, policy("patience(agreeing=4)").ref()).value();
  EXPECT_TRUE(report.truncated);
  EXPECT_EQ(report.rows, 44);
  EXPECT_EQ(report.decided_same, 44);
}

// One row of sequence 2 at position 6, and what is written about it.
Result<ReplayReport> replay_of(void (*write)(Trace&)) {
  const std::string path = temporary("order");
  Trace trace = Trace::create(path, {.n_layers = kLayers}).value();
  const TraceRow row{2, 6, 1, RowKind::generated};
  trace.rows({&row, 1});
  write(trace);
  trace.finish().value();
  TraceReader reader = TraceReader::open(path).value();
  auto report = replay(reader, policy("full_depth").ref());
  unlink(path.c_str());
  return report;
}

void decide_at(Trace& trace, int32_t layer) {
  Step step;
  step.layer = layer;
  step.n_layers = kLayers;
  step.position = 6;
  const int32_t sequence = 2;
  const Decision said;
  trace.boundary(kNothingLookedAt, {&sequence, 1}, {&step, 1}, {&said, 1});
}

void end_at(Trace& trace, int32_t position) {
  const TraceCommit commit{2, position, 1, kLayers, 1};
  trace.commit({&commit, 1});
}

TEST(Replay, EventsInAnOrderThatNoRunHasAreErrorsThatNameTheRow) {
  const auto in_order = replay_of([](Trace& t) { decide_at(t, 2), decide_at(t, 3), end_at(t, 6); });
  ASSERT_TRUE(in_order) << in_order.error().message;
  EXPECT_EQ(in_order->decided_same, 1);
  const std::pair<const char*, void (*)(Trace&)> wrong[] = {
      {"decisions out of order", [](Trace& t) { decide_at(t, 3), decide_at(t, 2); }},
      {"decisions out of order", [](Trace& t) { decide_at(t, 3), decide_at(t, 3); }},
      {"decisions out of order", [](Trace& t) { end_at(t, 6), decide_at(t, 3); }},
      {"a second end", [](Trace& t) { end_at(t, 6), end_at(t, 6); }},
      {"the end of an unknown row", [](Trace& t) { end_at(t, 5); }},
  };
  for (const auto& [says, write] : wrong) {
    const auto report = replay_of(write);
    ASSERT_FALSE(report) << says;
    EXPECT_EQ(report.error().code, ErrorCode::format);
    const std::string& message = report.error().message;
    EXPECT_NE(message.find(says), std::string::npos) << message;
    EXPECT_NE(message.find("of sequence 2"), std::string::npos) << message;
  }
}

TEST(Replay, DecisionsAboutRowsThatAreNotThereAreErrors) {
  const std::string path = temporary("stray");
  Trace trace = Trace::create(path, {.n_layers = kLayers}).value();
  const TraceRow row{0, 0, 1, RowKind::generated};
  trace.rows({&row, 1});
  Step step;
  step.position = 7;
  const Decision said;
  trace.boundary(kNothingLookedAt, {&row.sequence, 1}, {&step, 1}, {&said, 1});
  trace.finish().value();
  TraceReader reader = TraceReader::open(path).value();
  const auto report = replay(reader, policy("full_depth").ref());
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::format);
  EXPECT_NE(report.error().message.find("position 7"), std::string::npos) << report.error().message;
  unlink(path.c_str());
}

}  // namespace
}  // namespace fathom
