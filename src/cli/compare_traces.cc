// The comparison, event by event and field by field. Next: replay.cc, which reports it.
#include "src/cli/compare_traces.h"

#include <fmt/format.h>

#include <bit>

namespace fathom::cli {
namespace {

bool same_bits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

// The first field in which two values differ, in words; empty: none.
class Fields {
 public:
  template <class T>
  Fields& compare(const char* field, T recorded, T again) {
    if (difference_.empty() && recorded != again) difference_ = fmt::format("{} {}, now {}", field, recorded, again);
    return *this;
  }
  Fields& compare(const char* field, float recorded, float again) {
    if (difference_.empty() && !same_bits(recorded, again)) {
      difference_ = fmt::format("{} {}, now {}", field, recorded, again);
    }
    return *this;
  }
  std::string at(int32_t sequence, int32_t position) const {
    if (difference_.empty()) return {};
    return fmt::format("position {} of sequence {}: {}", position, sequence, difference_);
  }

 private:
  std::string difference_;
};

std::string differ(const TraceRow& a, const TraceRow& b) {
  return Fields()
      .compare("sequence", a.sequence, b.sequence)
      .compare("position", a.position, b.position)
      .compare("token", a.token, b.token)
      .compare("kind", static_cast<int>(a.kind), static_cast<int>(b.kind))
      .compare("role", static_cast<int>(a.role), static_cast<int>(b.role))
      .at(a.sequence, a.position);
}

std::string differ(const TraceCommit& a, const TraceCommit& b) {
  return Fields()
      .compare("sequence", a.sequence, b.sequence)
      .compare("position", a.position, b.position)
      .compare("next token", a.token, b.token)
      .compare("depth", a.depth, b.depth)
      .compare("work", a.work, b.work)
      .compare("head", static_cast<int>(a.head), static_cast<int>(b.head))
      .at(a.sequence, a.position);
}

std::string differ(const TraceRollback& a, const TraceRollback& b) {
  return Fields()
      .compare("sequence", a.sequence, b.sequence)
      .compare("length after a rollback", a.length, b.length)
      .at(a.sequence, a.length);
}

std::string differ(const TraceChoice& a, const TraceChoice& b) {
  return Fields()
      .compare("sequence", a.sequence, b.sequence)
      .compare("position", a.position, b.position)
      .compare("own drafts", a.own, b.own)
      .compare("drafts of the source", a.source, b.source)
      .compare("proposed", a.proposed, b.proposed)
      .compare("confidence", a.confidence, b.confidence)
      .at(a.sequence, a.position);
}

std::string differ(const TraceFate& a, const TraceFate& b) {
  return Fields()
      .compare("sequence", a.sequence, b.sequence)
      .compare("position", a.position, b.position)
      .compare("removed at", a.removed_at, b.removed_at)
      .compare("joined", a.joined, b.joined)
      .compare("share", a.share, b.share)
      .at(a.sequence, a.position);
}

// Of items that come in equal numbers.
template <class T>
std::string differ(const std::vector<T>& a, const std::vector<T>& b) {
  std::string difference;
  for (size_t i = 0; i < a.size() && difference.empty(); ++i) difference = differ(a[i], b[i]);
  return difference;
}

std::string differ(const TraceEvent& a, const TraceEvent& b, size_t i) {
  const Step &s = a.steps[i], &t = b.steps[i];
  Fields fields;
  fields.compare("sequence", a.sequences[i], b.sequences[i])
      .compare("position", s.position, t.position)
      .compare("layer", a.layer, b.layer)
      .compare("generated", s.generated, t.generated)
      .compare("kind", static_cast<int>(s.kind), static_cast<int>(t.kind))
      .compare("signals of prompt rows", a.computed[0].bits, b.computed[0].bits)
      .compare("signals of generated rows", a.computed[1].bits, b.computed[1].bits);
  for (int signal = 0; signal < kSignals; ++signal) {
    fields.compare(kSignalNames[signal].data(), s.signals[signal], t.signals[signal]);
  }
  fields.compare("work_spent", s.work_spent, t.work_spent)
      .compare("work_rows", s.work_rows, t.work_rows)
      .compare("work_if_exit", s.work_if_exit, t.work_if_exit)
      .compare("work_if_run", s.work_if_run, t.work_if_run)
      .compare("verdict", static_cast<int>(a.decisions[i].verdict), static_cast<int>(b.decisions[i].verdict))
      .compare("stage", int{a.decisions[i].stage}, int{b.decisions[i].stage});
  const std::string difference = fields.at(a.sequences[i], s.position);
  return difference.empty() ? difference : fmt::format("layer {}, {}", a.layer, difference);
}

std::string differ(const TraceEvent& a, const TraceEvent& b) {
  if (a.kind != b.kind || a.rows.size() != b.rows.size() || a.steps.size() != b.steps.size() ||
      a.commits.size() != b.commits.size() || a.rollbacks.size() != b.rollbacks.size() ||
      a.choices.size() != b.choices.size() || a.fates.size() != b.fates.size()) {
    return "another course of events: rows, boundaries, commits, rollbacks, choices or fates differ in number";
  }
  std::string difference = differ(a.rows, b.rows);  // an event is of one kind: the other lists are empty
  for (size_t i = 0; i < a.steps.size() && difference.empty(); ++i) difference = differ(a, b, i);
  if (difference.empty()) difference = differ(a.commits, b.commits);
  if (difference.empty()) difference = differ(a.rollbacks, b.rollbacks);
  if (difference.empty()) difference = differ(a.choices, b.choices);
  if (difference.empty()) difference = differ(a.fates, b.fates);
  return difference;
}

}  // namespace

Result<TraceComparison> compare_traces(TraceReader& recorded, TraceReader& again) {
  TraceComparison out;
  TraceEvent a, b;
  while (out.difference.empty()) {
    FATHOM_TRY(const bool more, recorded.next(a));
    FATHOM_TRY(const bool more_again, again.next(b));
    if (!more) {
      out.truncated = recorded.truncated();
      if (more_again && !out.truncated) out.difference = "the run goes on where the record ends";
      return out;
    }
    if (!more_again) {
      out.difference = "the run ends where the record goes on";
      return out;
    }
    out.difference = differ(a, b);
    ++out.events;
    out.rows += std::ssize(a.rows);
    out.decisions += std::ssize(a.steps);
  }
  return out;
}

}  // namespace fathom::cli
