// What `replay --check` compares: each field of each event, so that no change of a trace goes unseen. Next:
// usage_test.cc.
#include "src/cli/compare_traces.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

namespace fathom::cli {
namespace {

// The calls of one step, to be recorded.
struct Recorded {
  std::vector<TraceRow> rows = {{0, 4, 11, RowKind::prompt}, {1, 7, 12, RowKind::generated}};
  SignalSet computed[2] = {Signal::similarity, Signal::exit_confidence};
  std::vector<int32_t> sequences = {0, 1};
  std::vector<Step> steps = std::vector<Step>(2);
  std::vector<Decision> decisions = {{Verdict::run, -1}, {Verdict::skip_layer, 2}};
  std::vector<TraceCommit> commits = {{0, 4, -1, 6, 1}, {1, 7, 99, 3, 0.5f}};
  std::vector<TraceChoice> choices = {{0, 4, 0, 0, 0, 0}, {1, 7, 1, 2, 3, 4}};
  std::vector<TraceRollback> rollbacks = {{0, 4}, {1, 7}};

  Recorded() {
    for (size_t i = 0; i < 2; ++i) {
      steps[i].layer = 3;
      steps[i].n_layers = 6;
      steps[i].position = rows[i].position;
      steps[i].kind = rows[i].kind;
    }
    steps[0].signals[static_cast<int>(Signal::similarity)] = 0.75f;
    steps[1].signals[static_cast<int>(Signal::exit_confidence)] = 0.25f;
    steps[1].generated = 5;
    steps[1].work_spent = 2, steps[1].work_rows = 6, steps[1].work_if_exit = 0.5f, steps[1].work_if_run = 0.75f;
  }
};

TraceComparison compare(const Recorded& a, const Recorded& b) {
  const std::string paths[] = {testing::TempDir() + "fathom_compare_" + std::to_string(getpid()) + "_recorded",
                               testing::TempDir() + "fathom_compare_" + std::to_string(getpid()) + "_again"};
  for (int i = 0; i < 2; ++i) {
    const Recorded& r = i == 0 ? a : b;
    Trace trace = Trace::create(paths[i], {.n_layers = 6}).value();
    trace.choice(r.choices);
    trace.rows(r.rows);
    if (!r.steps.empty()) trace.boundary(r.computed, r.sequences, r.steps, r.decisions);
    if (!r.commits.empty()) trace.commit(r.commits);
    trace.rollback(r.rollbacks);
    trace.finish().value();
  }
  TraceReader recorded = TraceReader::open(paths[0]).value(), again = TraceReader::open(paths[1]).value();
  TraceComparison out = compare_traces(recorded, again).value();
  for (const std::string& path : paths) unlink(path.c_str());
  return out;
}

TEST(CompareTraces, ATraceIsTheSameAsItself) {
  const TraceComparison same = compare({}, {});
  EXPECT_EQ(same.difference, "");
  EXPECT_EQ(same.events, 5);
  EXPECT_EQ(same.rows, 2);
  EXPECT_EQ(same.decisions, 2);
  EXPECT_FALSE(same.truncated);
}

TEST(CompareTraces, NoFieldOfAnEventChangesUnseen) {
  using Change = std::function<void(Recorded&)>;
  const std::pair<const char*, Change> changes[] = {
      {"position 7 of sequence 1: sequence 1, now 2", [](auto& r) { r.rows[1].sequence = 2; }},
      {"position 7 of sequence 1: position 7, now 8", [](auto& r) { r.rows[1].position = 8; }},
      {"position 7 of sequence 1: token 12, now 13", [](auto& r) { r.rows[1].token = 13; }},
      {"position 7 of sequence 1: kind 1, now 0", [](auto& r) { r.rows[1].kind = RowKind::prompt; }},
      {"position 7 of sequence 1: role 0, now 1", [](auto& r) { r.rows[1].role = RowRole::draft; }},
      {"position 7 of sequence 1: role 0, now 2", [](auto& r) { r.rows[1].role = RowRole::settled; }},
      {"layer 3, position 7 of sequence 1: sequence 1, now 2", [](auto& r) { r.sequences[1] = 2; }},
      {"layer 3, position 7 of sequence 1: position 7, now 8", [](auto& r) { r.steps[1].position = 8; }},
      {"position 4 of sequence 0: layer 3, now 4", [](auto& r) { r.steps[0].layer = r.steps[1].layer = 4; }},
      {"layer 3, position 7 of sequence 1: generated 5, now 6", [](auto& r) { r.steps[1].generated = 6; }},
      {"layer 3, position 7 of sequence 1: kind 1, now 0", [](auto& r) { r.steps[1].kind = RowKind::prompt; }},
      {"signals of prompt rows 16, now 48",
       [](auto& r) { r.computed[0] = r.computed[0] | Signal::similarity_attention; }},
      {"signals of generated rows 1, now 3", [](auto& r) { r.computed[1] = r.computed[1] | Signal::exit_margin; }},
      {"exit_confidence 0.25, now 0.5", [](auto& r) { r.steps[1].signals[0] = 0.5f; }},
      {"work_spent 2, now 3", [](auto& r) { r.steps[1].work_spent = 3; }},
      {"work_rows 6, now 7", [](auto& r) { r.steps[1].work_rows = 7; }},
      {"work_if_exit 0.5, now 0.625", [](auto& r) { r.steps[1].work_if_exit = 0.625f; }},
      {"work_if_run 0.75, now 0.875", [](auto& r) { r.steps[1].work_if_run = 0.875f; }},
      {"position 7 of sequence 1: verdict 3, now 7", [](auto& r) { r.decisions[1].verdict = Verdict::exit; }},
      {"position 7 of sequence 1: stage 2, now 1", [](auto& r) { r.decisions[1].stage = 1; }},
      {"position 7 of sequence 1: sequence 1, now 2", [](auto& r) { r.commits[1].sequence = 2; }},
      {"position 7 of sequence 1: position 7, now 8", [](auto& r) { r.commits[1].position = 8; }},
      {"position 7 of sequence 1: next token 99, now 98", [](auto& r) { r.commits[1].token = 98; }},
      {"position 7 of sequence 1: depth 3, now 2.5", [](auto& r) { r.commits[1].depth = 2.5f; }},
      {"position 7 of sequence 1: work 0.5, now 0.25", [](auto& r) { r.commits[1].work = 0.25f; }},
      {"position 7 of sequence 1: sequence 1, now 2", [](auto& r) { r.rollbacks[1].sequence = 2; }},
      {"position 7 of sequence 1: length after a rollback 7, now 6", [](auto& r) { r.rollbacks[1].length = 6; }},
      {"position 7 of sequence 1: sequence 1, now 2", [](auto& r) { r.choices[1].sequence = 2; }},
      {"position 7 of sequence 1: position 7, now 8", [](auto& r) { r.choices[1].position = 8; }},
      {"position 7 of sequence 1: own drafts 1, now 0", [](auto& r) { r.choices[1].own = 0; }},
      {"position 7 of sequence 1: drafts of the source 2, now 1", [](auto& r) { r.choices[1].source = 1; }},
      {"position 7 of sequence 1: proposed 3, now 2", [](auto& r) { r.choices[1].proposed = 2; }},
      {"position 7 of sequence 1: confidence 4, now 5", [](auto& r) { r.choices[1].confidence = 5; }},
  };
  for (const auto& [says, change] : changes) {
    Recorded other;
    change(other);
    const std::string difference = compare({}, other).difference;
    EXPECT_NE(difference.find(says), std::string::npos) << says << " is not in: " << difference;
  }
}

TEST(CompareTraces, ARunOfAnotherLengthOrCourseDiffers) {
  Recorded shorter, fewer_rows, no_boundary, fewer_rollbacks, fewer_choices;
  shorter.rollbacks.clear();
  fewer_rows.rows.pop_back();
  no_boundary.steps.clear();
  fewer_rollbacks.rollbacks.pop_back();
  fewer_choices.choices.pop_back();
  EXPECT_EQ(compare({}, shorter).difference, "the run ends where the record goes on");
  EXPECT_EQ(compare(shorter, {}).difference, "the run goes on where the record ends");
  EXPECT_NE(compare({}, fewer_rows).difference.find("differ in number"), std::string::npos);
  EXPECT_NE(compare({}, fewer_rollbacks).difference.find("differ in number"), std::string::npos);
  EXPECT_NE(compare({}, fewer_choices).difference.find("differ in number"), std::string::npos);
  EXPECT_NE(compare({}, no_boundary).difference.find("another course"), std::string::npos);
}

}  // namespace
}  // namespace fathom::cli
