// replay(): what another policy would have decided from the signals a trace recorded. Nothing is guessed: what the
// record does not hold is counted as unknown. Last in the flow; back to fathom.h.
#pragma once

#include <cstdint>
#include <optional>

#include "fathom/core/result.h"
#include "fathom/policy/policy.h"
#include "fathom/trace/reader.h"

namespace fathom {

/// The first decision of a trace that the other policy takes differently.
struct ReplayDifference {
  int32_t sequence = 0;
  int32_t position = 0;
  int32_t layer = 0;  // layers behind the boundary
  Verdict recorded = Verdict::run;
  Verdict replayed = Verdict::run;
};

/// Rows by what is known about the other policy's decisions. The four kinds add up to `rows`. A row counts once, in the
/// step that it entered first and with the depth of its end there: settling adds nothing, and what was taken back
/// stays.
struct ReplayReport {
  int64_t rows = 0;                      // that the trace saw to their end
  int64_t decided_same = 0;              // at every boundary
  int64_t decided_differently = 0;       // at some boundary, all before it being the same
  int64_t unknown_signal = 0;            // needs a signal or a sum of work that was not recorded; so do rows after it
  int64_t unknown_after_divergence = 0;  // an earlier row of the sequence was decided differently
  int64_t generated_rows = 0;            // the means below are theirs
  double recorded_depth = 0;             // mean over all generated rows
  int64_t depth_known_rows = 0;          // generated rows whose depth under the other policy is known
  double known_depth = 0;                // their mean depth under the other policy
  double known_recorded_depth = 0;       // their mean depth in the record
  int64_t drafted_rows = 0;              // entered as drafts
  int64_t settled_rows = 0;              // entered again to settle
  int64_t rolled_back_rows = 0;          // taken back
  int64_t not_asked_rows = 0;            // of decided_same: a choice ran them in full, whatever the policy
  std::optional<ReplayDifference> first_difference = {};
  bool truncated = false;  // the file ends inside a record
};

/// Asks `policy` about every boundary of every row.
/// A boundary that is not in the trace is one where the recorded policy read and changed nothing; the other policy is
/// asked there too, with no signals. Work counts as recorded while both policies check at the same boundaries; where it
/// does not, a decision is known only if it is the same for no work spent and for more than any.
/// Choices count as recorded: the rows that they run in full are no decisions of a policy, and neither are rows that
/// settle. Rows behind a rollback are counted on from where it went back to.
/// Rows of an encoder's text look at one another: behind the first boundary at which one of them is decided
/// differently or is unknown, so is every row that still runs, those before it included.
/// A row's depth is known where its decisions are the same or where the first other one is an exit.
///   errors   those of TraceReader::next; format: decisions about rows that the trace does not hold or that settle, or
///   out of
///            order; a settled row that did not enter before; a rollback of rows that are not there or not generated
///   memory   the rows of one step and a few bytes for each sequence
FATHOM_API Result<ReplayReport> replay(TraceReader& trace, PolicyRef policy);

}  // namespace fathom
