// Replay: the boundaries of each row are shown to another policy in order, until it is unlike the record or unknown.
#include "fathom/trace/replay.h"

#include <fmt/format.h>

#include <limits>
#include <unordered_map>
#include <vector>

namespace fathom {
namespace {

constexpr size_t kMaxStepRows = size_t{1} << 20;

enum class Fate : uint8_t { open, left, different, unknown };

// A row of the running step.
struct Row {
  int32_t sequence = 0;
  int32_t position = 0;
  RowKind kind = RowKind::prompt;
  bool settles = false;
  bool asked = true;  // false: a choice ran it in full, and no policy said so
  int32_t generated = 0;
  int32_t next_layer = 0;  // the boundary to ask about next; behind the last one asked about
  int32_t halves = 0;      // half layers run so far
  Fate fate = Fate::open;
  bool checks_differ = false;  // the two policies do not check at the same boundaries
  bool committed = false;
  float recorded_depth = 0;
  std::optional<float> depth = {};  // under the other policy
  ReplayDifference difference = {};
};

// A sequence up to the running step.
struct Sequence {
  int64_t length = 0;                                     // positions, up to the last row that entered
  int64_t own_end = std::numeric_limits<int64_t>::max();  // generated rows from here on were run in full by a choice
  int32_t generated = 0;
  bool diverged = false;
  bool unknown = false;
  bool checks_differ = false;
};

uint64_t key_of(int32_t sequence, int32_t position) {
  return uint64_t{static_cast<uint32_t>(sequence)} << 32 | static_cast<uint32_t>(position);
}

class Replay {
 public:
  Replay(PolicyRef policy, const TraceHeader& header)
      : policy_(policy), n_layers_(header.n_layers), encodes_(header.encodes) {}

  Result<void> take(const TraceEvent& event) {
    switch (event.kind) {
      case TraceEvent::Kind::rows:
        end_step();
        return enter(event);
      case TraceEvent::Kind::more_rows:
        return enter(event);
      case TraceEvent::Kind::boundary:
        return decide(event);
      case TraceEvent::Kind::commit:
        return commit(event);
      case TraceEvent::Kind::rollback:
        return roll_back(event);
      case TraceEvent::Kind::choice:
        for (const TraceChoice& c : event.choices) sequences_[c.sequence].own_end = int64_t{c.position} + c.own;
        return {};
      case TraceEvent::Kind::fates:
        return follow(event);
    }
    return {};
  }

  ReplayReport finish(bool truncated) {
    end_step();
    const auto mean = [](double& sum, int64_t n) { sum = n > 0 ? sum / static_cast<double>(n) : 0; };
    mean(report_.recorded_depth, report_.generated_rows);
    mean(report_.known_depth, report_.depth_known_rows);
    mean(report_.known_recorded_depth, report_.depth_known_rows);
    report_.truncated = truncated;
    return report_;
  }

 private:
  Error bad(const char* what, int32_t sequence, int32_t position) const {
    return {ErrorCode::format,
            fmt::format("trace: {} position {} of sequence {}: record the trace again", what, position, sequence)};
  }

  Result<void> enter(const TraceEvent& event) {
    if (rows_.size() + event.rows.size() > kMaxStepRows) {
      return Error{ErrorCode::capacity,
                   fmt::format("trace: a step of more than {} rows: record shorter steps", kMaxStepRows)};
    }
    for (const TraceRow& r : event.rows) {
      Sequence& sequence = sequences_[r.sequence];
      const bool settles = r.role == RowRole::settled;
      if (settles && r.position >= sequence.length) return bad("settles an unknown row,", r.sequence, r.position);
      if (r.position == 0 && !settles) sequence = {.own_end = sequence.own_end};
      if (!index_.emplace(key_of(r.sequence, r.position), rows_.size()).second) {
        return bad("a step holds twice", r.sequence, r.position);
      }
      rows_.push_back({.sequence = r.sequence, .position = r.position, .kind = r.kind, .settles = settles});
      report_.settled_rows += settles;
      if (!settles) enter(rows_.back(), r.role, sequence);
    }
    return {};
  }

  // A row that is in its sequence for the first time, or again after it was taken back.
  void enter(Row& row, RowRole role, Sequence& sequence) {
    sequence.length = int64_t{row.position} + 1;
    report_.drafted_rows += role == RowRole::draft;
    row.checks_differ = sequence.checks_differ;
    if (row.kind != RowKind::generated) return;
    row.generated = sequence.generated++;
    row.asked = row.position < sequence.own_end;
  }

  Result<void> roll_back(const TraceEvent& event) {
    for (const TraceRollback& r : event.rollbacks) {
      Sequence& sequence = sequences_[r.sequence];
      const int64_t rows = sequence.length - r.length;
      if (rows < 0) return bad("takes back rows that are not there, from", r.sequence, r.length);
      if (rows > sequence.generated) return bad("takes back rows that were not generated, from", r.sequence, r.length);
      sequence.length = r.length;
      sequence.generated -= static_cast<int32_t>(rows);
      report_.rolled_back_rows += rows;
    }
    return {};
  }

  Result<void> decide(const TraceEvent& event) {
    for (size_t i = 0; i < event.steps.size(); ++i) {
      const Step& step = event.steps[i];
      const auto found = index_.find(key_of(event.sequences[i], step.position));
      if (found == index_.end()) return bad("a decision about an unknown row,", event.sequences[i], step.position);
      Row& row = rows_[found->second];
      if (row.settles) return bad("a decision about a row that settles,", row.sequence, row.position);
      if (step.layer < row.next_layer && row.fate == Fate::open) {
        return bad("decisions out of order at", row.sequence, row.position);
      }
      if (row.fate != Fate::open) continue;
      pass_unrecorded(row, step.layer);
      const SignalSet has = event.computed[static_cast<size_t>(step.kind)];
      if (row.fate != Fate::open) continue;
      ask(row, step, has, event.decisions[i].verdict);
      row.next_layer = step.layer + 1;
    }
    return {};
  }

  // Fates say what came of decisions: no other policy is asked about them.
  Result<void> follow(const TraceEvent& event) const {
    for (const TraceFate& f : event.fates) {
      const bool known = index_.contains(key_of(f.sequence, f.position)) &&
                         (f.joined < 0 || index_.contains(key_of(f.sequence, f.joined)));
      if (!known) return bad("the fate of an unknown row,", f.sequence, f.position);
    }
    return {};
  }

  Result<void> commit(const TraceEvent& event) {
    for (const TraceCommit& c : event.commits) {
      const auto found = index_.find(key_of(c.sequence, c.position));
      if (found == index_.end()) return bad("the end of an unknown row,", c.sequence, c.position);
      Row& row = rows_[found->second];
      if (row.committed) return bad("a second end of", c.sequence, c.position);
      row.committed = true;
      if (row.settles) continue;
      pass_unrecorded(row, n_layers_);
      row.recorded_depth = c.depth;
      if (row.fate == Fate::open || row.fate == Fate::left) row.depth = c.depth;
    }
    return {};
  }

  // Boundaries up to `end` that the trace left out: nothing was read there and the row ran on.
  void pass_unrecorded(Row& row, int32_t end) {
    if (!row.asked && row.next_layer < end) {
      row.halves += 2 * (end - row.next_layer);
      row.next_layer = end;
    }
    Step step;
    step.n_layers = n_layers_;
    step.position = row.position;
    step.generated = row.generated;
    step.kind = row.kind;
    step.work_rows = 0;  // not recorded
    for (; row.next_layer < end && row.fate == Fate::open; ++row.next_layer) {
      step.layer = row.next_layer;
      ask(row, step, {}, Verdict::run);
    }
  }

  // `has` are the signals that the recorded run looked at; one of them that is NaN was not there under either policy.
  void ask(Row& row, const Step& step, SignalSet has, Verdict recorded) {
    const SignalSet reads = policy_.table->reads(policy_.self, step.layer, n_layers_, step.kind);
    const bool work_recorded = step.work_rows > 0;  // at least 1 where it was recorded
    row.checks_differ |= reads.any(kPricedSignals) != has.any(kPricedSignals);
    // The count of agreeing checks goes on from the checks before: it is the other policy's only if those were its own.
    const bool counts_differ = row.checks_differ || reads.has(Signal::agreeing) != has.has(Signal::agreeing);
    const bool missing = (reads.bits & ~has.bits) != 0 || (reads.has(Signal::agreeing) && counts_differ);
    const std::optional<Verdict> verdict =
        missing ? std::nullopt : decision_of(step, work_recorded && !row.checks_differ);
    if (!verdict) {
      row.fate = Fate::unknown;
    } else if (*verdict != recorded) {
      row.fate = Fate::different;
      row.difference = {row.sequence, row.position, step.layer, recorded, *verdict};
      if (exits(*verdict)) row.depth = 0.5f * static_cast<float>(row.halves);
    } else if (exits(recorded)) {
      row.fate = Fate::left;
    } else {
      row.halves += !skips_attention(recorded) + !skips_feed_forward(recorded);
    }
  }

  // The policy's verdict; nothing where it hangs on work that is not known.
  std::optional<Verdict> decision_of(Step step, bool work_known) const {
    if (work_known) return verdict_of(step);
    constexpr float kHuge = 1e9f;  // full-depth rows: more than any sequence has
    step.work_spent = step.work_if_exit = step.work_if_run = 0;
    step.work_rows = kHuge;
    const Verdict nothing_spent = verdict_of(step);
    step.work_spent = step.work_if_exit = step.work_if_run = kHuge;
    step.work_rows = 1;
    if (verdict_of(step) != nothing_spent) return std::nullopt;
    return nothing_spent;
  }

  Verdict verdict_of(const Step& step) const {
    Decision decision;
    policy_.table->decide(policy_.self, &step, &decision, 1);
    return decision.verdict;
  }

  // Counts the rows of the step, in order: what one row does makes the rows after it unknown.
  void end_step() {
    if (encodes_) {
      end_texts();
    } else {
      end_sequences();
    }
    rows_.clear();
    index_.clear();
  }

  // Of an encoder, whose rows look at one another: behind the first boundary at which one of a text's rows is decided
  // differently, or is unknown, every row of the text is.
  void end_texts() {
    struct Text {
      int32_t known = std::numeric_limits<int32_t>::max();  // boundaries
      bool diverged = false;
    };
    std::unordered_map<int32_t, Text> texts;
    for (const Row& row : rows_) {
      if (row.fate != Fate::different && row.fate != Fate::unknown) continue;
      Text& text = texts[row.sequence];
      if (row.next_layer < text.known) text = {.known = row.next_layer};
      text.diverged |= row.next_layer == text.known && row.fate == Fate::different;
    }
    for (const Row& row : rows_) {
      const Text& text = texts[row.sequence];
      const bool after = row.next_layer > text.known;
      if (row.committed && !row.settles) {
        count(row, {.diverged = after && text.diverged, .unknown = after && !text.diverged});
      }
      if (!after && row.fate == Fate::different && !report_.first_difference) {
        report_.first_difference = row.difference;
      }
    }
  }

  void end_sequences() {
    for (const Row& row : rows_) {
      if (row.settles) continue;
      Sequence& sequence = sequences_[row.sequence];
      if (row.committed) count(row, sequence);
      sequence.checks_differ |= row.checks_differ;
      if (sequence.diverged || sequence.unknown) continue;
      sequence.diverged = row.fate == Fate::different;
      sequence.unknown = row.fate == Fate::unknown;
      if (sequence.diverged && !report_.first_difference) report_.first_difference = row.difference;
    }
  }

  void count(const Row& row, const Sequence& sequence) {
    const bool after = sequence.diverged || sequence.unknown;
    ++report_.rows;
    if (sequence.diverged) {
      ++report_.unknown_after_divergence;
    } else if (sequence.unknown || row.fate == Fate::unknown) {
      ++report_.unknown_signal;
    } else {
      const bool same = row.fate != Fate::different;
      ++(same ? report_.decided_same : report_.decided_differently);
      report_.not_asked_rows += same && !row.asked;
    }
    if (row.kind != RowKind::generated) return;
    ++report_.generated_rows;
    report_.recorded_depth += row.recorded_depth;
    if (after || !row.depth) return;
    ++report_.depth_known_rows;
    report_.known_depth += *row.depth;
    report_.known_recorded_depth += row.recorded_depth;
  }

  PolicyRef policy_;
  int32_t n_layers_;
  bool encodes_;
  std::vector<Row> rows_;
  std::unordered_map<uint64_t, size_t> index_;  // of rows_ by sequence and position
  std::unordered_map<int32_t, Sequence> sequences_;
  ReplayReport report_;
};

}  // namespace

Result<ReplayReport> replay(TraceReader& trace, PolicyRef policy) {
  Replay replay(policy, trace.header());
  TraceEvent event;
  for (;;) {
    FATHOM_TRY(const bool more, trace.next(event));
    if (!more) return replay.finish(trace.truncated());
    FATHOM_TRY(replay.take(event));
  }
}

}  // namespace fathom
