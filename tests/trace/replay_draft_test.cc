// Replay of traces with drafts, settled rows and rollbacks: every count against one worked out by hand.
#include <gtest/gtest.h>
#include <unistd.h>

#include "fathom/policy/policy.h"
#include "fathom/trace/replay.h"

namespace fathom {
namespace {

constexpr int32_t kLayers = 10;
constexpr SignalSet kNothingLookedAt[2];

// A trace written call by call, in a file that is gone when this is.
class Recording {
 public:
  Recording()
      : path_(testing::TempDir() + "fathom_draft_" + std::to_string(getpid())),
        trace_(Trace::create(path_, {.n_layers = kLayers}).value()) {}
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() { unlink(path_.c_str()); }

  void enter(std::vector<TraceRow> rows) { trace_.rows(rows); }
  void end(std::vector<TraceCommit> commits) { trace_.commit(commits); }
  void take_back(int32_t sequence, int32_t length) {
    const TraceRollback rollback{sequence, length};
    trace_.rollback({&rollback, 1});
  }
  void choose(TraceChoice choice) { trace_.choice({&choice, 1}); }

  void decide(int32_t sequence, int32_t position, int32_t layer, Verdict verdict) {
    Step step;
    step.layer = layer;
    step.n_layers = kLayers;
    step.position = position;
    const Decision said{verdict, 0};
    trace_.boundary(kNothingLookedAt, {&sequence, 1}, {&step, 1}, {&said, 1});
  }

  // A step of one generated row that leaves behind a layer.
  void exit_at(int32_t layer, int32_t sequence, int32_t position, RowRole role) {
    enter({{sequence, position, 1, RowKind::generated, role}});
    decide(sequence, position, layer, Verdict::exit);
    end({{sequence, position, 1, static_cast<float>(layer), 0.1f * static_cast<float>(layer)}});
  }

  // A step of generated rows that run all layers.
  void run(int32_t sequence, int32_t begin, std::vector<RowRole> roles) {
    std::vector<TraceRow> rows;
    std::vector<TraceCommit> commits;
    for (const RowRole role : roles) {
      const int32_t position = begin + static_cast<int32_t>(rows.size());
      rows.push_back({sequence, position, 1, RowKind::generated, role});
      commits.push_back({sequence, position, 1, kLayers, 1});
    }
    enter(rows);
    end(commits);
  }

  void prompt(int32_t sequence, int32_t rows) {
    for (int32_t i = 0; i < rows; ++i) {
      enter({{sequence, i, 1, RowKind::prompt}});
      end({{sequence, i, -1, kLayers, 1}});
    }
  }

  Result<ReplayReport> ask(const char* policy) {
    trace_.finish().value();
    TraceReader reader = TraceReader::open(path_).value();
    return replay(reader, Policy::parse(policy).value().ref());
  }

 private:
  std::string path_;
  Trace trace_;
};

constexpr RowRole certain = RowRole::certain, draft = RowRole::draft, settled = RowRole::settled;

// Three prompt rows. Rows 3 to 5 leave at layer 4 and settle together with row 6 behind them; full depth takes back 5
// and 6. Then rows 5 and 6 are drafted and settled, and hold.
void write_two_passes(Recording& r) {
  r.prompt(0, 3);
  r.choose({.position = 3, .own = 3});
  r.exit_at(4, 0, 3, certain);
  r.exit_at(4, 0, 4, draft);
  r.exit_at(4, 0, 5, draft);
  r.run(0, 3, {settled, settled, settled, draft});
  r.take_back(0, 5);
  r.choose({.position = 5, .own = 2});
  r.exit_at(4, 0, 5, certain);
  r.exit_at(4, 0, 6, draft);
  r.run(0, 5, {settled, settled});
}

TEST(ReplayDrafts, RowsThatSettleAreNotCountedAgainAndKeepTheirFirstDepth) {
  Recording r;
  write_two_passes(r);
  const ReplayReport report = r.ask("exit_at(layer=4)").value();
  EXPECT_EQ(report.rows, 3 + 4 + 2);
  EXPECT_EQ(report.generated_rows, 4 + 2);
  EXPECT_EQ(report.decided_same, report.rows);
  EXPECT_EQ(report.not_asked_rows, 1) << "the row behind the three drafts";
  EXPECT_EQ(report.drafted_rows, 2 + 1 + 1);
  EXPECT_EQ(report.settled_rows, 3 + 2);
  EXPECT_EQ(report.rolled_back_rows, 2);
  EXPECT_DOUBLE_EQ(report.recorded_depth, (5 * 4 + 10) / 6.0);
  EXPECT_EQ(report.depth_known_rows, 6);
  EXPECT_DOUBLE_EQ(report.known_depth, report.recorded_depth);
}

TEST(ReplayDrafts, AnotherPolicyIsAskedAboutDraftsAndNotAboutRowsThatSettle) {
  Recording r;
  write_two_passes(r);
  const ReplayReport report = r.ask("exit_at(layer=2)").value();
  EXPECT_EQ(report.decided_same, 3);
  EXPECT_EQ(report.decided_differently, 1);
  EXPECT_EQ(report.unknown_after_divergence, 5) << "taken back or not";
  EXPECT_EQ(report.not_asked_rows, 0);
  EXPECT_EQ(report.known_depth, 2);
  EXPECT_EQ(report.known_recorded_depth, 4);
  ASSERT_TRUE(report.first_difference);
  EXPECT_EQ(report.first_difference->position, 3);
  EXPECT_EQ(report.first_difference->layer, 2);
}

// Position 5 is the third generated row, also where it enters again, and position 6 the fourth.
TEST(ReplayDrafts, GeneratedRowsAreCountedOnFromWhereARollbackWentBackTo) {
  const auto same_until = [](int32_t full_tokens) {
    Recording r;
    r.prompt(0, 3);
    r.run(0, 3, {certain, draft, draft, draft});
    r.take_back(0, 5);
    r.run(0, 5, {certain, draft});
    r.run(0, 7, {certain});
    const std::string policy = "exit_at(layer=4) | full_depth_first(tokens=" + std::to_string(full_tokens) + ")";
    return r.ask(policy.c_str()).value();
  };
  constexpr std::pair<int32_t, int32_t> cases[] = {{2, 3 + 2}, {3, 3 + 3}, {4, 3 + 6}, {5, 3 + 7}};
  for (const auto& [tokens, same] : cases) {
    const ReplayReport report = same_until(tokens);
    EXPECT_EQ(report.decided_same, same) << tokens << " tokens at full depth";
    EXPECT_EQ(report.decided_differently, tokens < 5) << tokens;
    EXPECT_EQ(report.rows, 3 + 7);
    EXPECT_EQ(report.rolled_back_rows, 2);
  }
}

TEST(ReplayDrafts, ARollbackOfOneSequenceLeavesTheOthers) {
  Recording r;
  for (int32_t s : {0, 1}) r.prompt(s, 2);
  r.enter({{0, 2, 1, RowKind::generated},
           {0, 3, 1, RowKind::generated, draft},
           {1, 2, 1, RowKind::generated},
           {1, 3, 1, RowKind::generated, draft}});
  r.end({{0, 2, 1, kLayers, 1}, {0, 3, 1, kLayers, 1}, {1, 2, 1, kLayers, 1}, {1, 3, 1, kLayers, 1}});
  r.take_back(1, 3);
  r.enter({{0, 4, 1, RowKind::generated}, {1, 3, 1, RowKind::generated}});
  r.end({{0, 4, 1, kLayers, 1}, {1, 3, 1, kLayers, 1}});
  const ReplayReport report = r.ask("exit_at(layer=4) | full_depth_first(tokens=2)").value();
  EXPECT_EQ(report.decided_differently, 1) << "only sequence 0 has a third generated row";
  ASSERT_TRUE(report.first_difference);
  EXPECT_EQ(report.first_difference->sequence, 0);
  EXPECT_EQ(report.first_difference->position, 4);
  EXPECT_EQ(report.rolled_back_rows, 1);
}

// A source's guesses run in full beside the certain row; then a pass drafts nothing, and the last follows the policy.
TEST(ReplayDrafts, RowsThatAChoiceRunsInFullAreNoDecisionsOfAPolicy) {
  const auto record = [](Recording& r) {
    r.prompt(0, 3);
    r.choose({.position = 3, .source = 2, .proposed = 5, .confidence = 1});
    r.run(0, 3, {certain, draft, draft});
    r.take_back(0, 4);
    r.choose({.position = 4});
    r.run(0, 4, {certain});
    r.choose({.position = 5, .own = 1});
    r.exit_at(6, 0, 5, certain);
    r.run(0, 5, {settled, draft});
  };
  Recording own, other;
  record(own);
  const ReplayReport same = own.ask("exit_at(layer=6)").value();
  EXPECT_EQ(same.decided_same, 3 + 3 + 1 + 1 + 1);
  EXPECT_EQ(same.not_asked_rows, 3 + 1 + 1);
  EXPECT_DOUBLE_EQ(same.recorded_depth, (4 * 10 + 6 + 10) / 6.0);
  EXPECT_EQ(same.depth_known_rows, 6);
  record(other);
  const ReplayReport different = other.ask("exit_at(layer=2)").value();
  EXPECT_EQ(different.decided_same, 3 + 3 + 1);
  EXPECT_EQ(different.decided_differently, 1);
  EXPECT_EQ(different.unknown_after_divergence, 1);
  EXPECT_EQ(different.not_asked_rows, 4);
  EXPECT_DOUBLE_EQ(different.known_depth, (4 * 10 + 2) / 5.0);
}

TEST(ReplayDrafts, ADecisionIsAskedAboutEvenWhereAChoiceRanTheRowInFull) {
  Recording r;
  r.choose({.position = 0});
  r.enter({{0, 0, 1, RowKind::generated}});
  r.decide(0, 0, 6, Verdict::run);
  r.end({{0, 0, 1, kLayers, 1}});
  const ReplayReport report = r.ask("exit_at(layer=6)").value();
  EXPECT_EQ(report.decided_differently, 1);
  EXPECT_EQ(report.known_depth, 6);
}

TEST(ReplayDrafts, PromptRowsAreAskedAboutWhateverWasChosenBefore) {
  Recording r;
  r.choose({.position = 0});
  r.run(0, 0, {certain});
  r.enter({{0, 1, 1, RowKind::prompt}});
  r.end({{0, 1, -1, kLayers, 1}});
  const ReplayReport report = r.ask("exit_at(layer=3, on=prompt)").value();
  EXPECT_EQ(report.decided_differently, 1);
  ASSERT_TRUE(report.first_difference);
  EXPECT_EQ(report.first_difference->position, 1);
}

// The prompt's first row settles too: the text does not begin again.
TEST(ReplayDrafts, ASettledRowAtPositionZeroBeginsNoText) {
  Recording r;
  r.exit_at(3, 0, 0, certain);
  r.exit_at(3, 0, 1, certain);
  r.run(0, 0, {settled, settled, certain});
  const ReplayReport report = r.ask("exit_at(layer=3) | full_depth_first(tokens=1)").value();
  EXPECT_EQ(report.decided_differently, 1);
  EXPECT_EQ(report.unknown_after_divergence, 2);
  Recording again;
  again.exit_at(3, 0, 0, certain);
  again.run(0, 0, {settled, certain});
  EXPECT_EQ(again.ask("exit_at(layer=3)").value().decided_differently, 1) << "row 1 ran on";
}

TEST(ReplayDrafts, ARowThatSettlesWithoutAnEndIsCountedOnce) {
  Recording r;
  r.exit_at(3, 0, 0, certain);
  r.enter({{0, 0, 1, RowKind::generated, settled}});
  const ReplayReport report = r.ask("exit_at(layer=3)").value();
  EXPECT_EQ(report.rows, 1);
  EXPECT_EQ(report.settled_rows, 1);
}

TEST(ReplayDrafts, WhatNoRunWritesIsAnErrorThatNamesTheRow) {
  const std::pair<const char*, void (*)(Recording&)> wrong[] = {
      {"settles an unknown row, position 4 of sequence 2", [](Recording& r) { r.run(2, 4, {settled}); }},
      {"settles an unknown row, position 3 of sequence 0", [](Recording& r) { r.run(0, 3, {settled}); }},
      {"settles an unknown row, position 5 of sequence 0",
       [](Recording& r) {
         r.run(0, 3, {certain, draft, draft});
         r.take_back(0, 5);
         r.run(0, 5, {settled});
       }},
      {"a decision about a row that settles, position 2",
       [](Recording& r) {
         r.enter({{0, 2, 1, RowKind::prompt, settled}});
         r.decide(0, 2, 7, Verdict::run);
       }},
      {"holds twice position 3",
       [](Recording& r) {
         r.enter({{0, 3, 1, RowKind::generated}, {0, 3, 1, RowKind::generated, settled}});
       }},
      {"a second end of position 2",
       [](Recording& r) {
         r.enter({{0, 2, 1, RowKind::prompt, settled}});
         for (int i = 0; i < 2; ++i) r.end({{0, 2, 1, kLayers, 1}});
       }},
      {"rows that are not there, from position 4 of sequence 0", [](Recording& r) { r.take_back(0, 4); }},
      {"rows that are not there, from position 1 of sequence 1", [](Recording& r) { r.take_back(1, 1); }},
      {"rows that were not generated, from position 2 of sequence 0", [](Recording& r) { r.take_back(0, 2); }},
      {"rows that were not generated, from position 0 of sequence 0",
       [](Recording& r) {
         r.run(0, 0x7ffffffe, {certain});
         r.take_back(0, 0);
       }},
  };
  for (const auto& [says, write] : wrong) {
    Recording r;
    r.prompt(0, 3);
    write(r);
    const auto report = r.ask("full_depth");
    ASSERT_FALSE(report) << says;
    EXPECT_EQ(report.error().code, ErrorCode::format);
    EXPECT_NE(report.error().message.find(says), std::string::npos) << report.error().message;
  }
}

}  // namespace
}  // namespace fathom
