// TraceReader: a trace as a stream of events, in bounded memory, from a file that anyone may have written.
// Next in the flow: trace/replay.h, which asks another policy about what it yields.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/trace/trace.h"

namespace fathom {

/// One call of the engine's side of Trace. Long calls come in parts.
struct TraceEvent {
  enum class Kind : uint8_t {
    rows,       ///< a step begins
    more_rows,  ///< rows that belong to the running step
    boundary,
    commit,
    rollback,  ///< rows of the running step, and of those before, are taken back
    choice,    ///< about the step that comes
    fates,     ///< of rows of the running step
  };
  Kind kind = Kind::rows;
  std::vector<TraceRow> rows;
  int32_t layer = 0;                  // of a boundary
  std::array<SignalSet, 2> computed;  // by RowKind; the others read as NaN in `steps`
  std::vector<int32_t> sequences;     // [steps]
  std::vector<Step> steps;
  std::vector<Decision> decisions;  // [steps]
  std::vector<TraceCommit> commits;
  std::vector<TraceRollback> rollbacks;
  std::vector<TraceChoice> choices;
  std::vector<TraceFate> fates;
};

class FATHOM_API TraceReader {
 public:
  /// Opens a regular file and reads its header.
  ///   errors   file: the path and the system's reason; format: not a trace, another version, a damaged header
  static Result<TraceReader> open(const std::string& path);

  /// The same from bytes in memory, which must outlive the reader.
  static Result<TraceReader> from_bytes(std::span<const std::byte> bytes);

  TraceReader(TraceReader&&) noexcept;
  TraceReader& operator=(TraceReader&&) noexcept;
  ~TraceReader();

  const TraceHeader& header() const noexcept;

  /// Reads the next event; false at the end. Reuses the event's memory.
  ///   errors   format: the offset of a record whose length, checksum or contents are impossible; file: a failed read
  ///   memory   one record (at most 1 MiB) and one event (at most 1024 rows)
  Result<bool> next(TraceEvent& event);

  /// True after next() gave false when the file ends inside a record: the run that wrote it was cut off.
  bool truncated() const noexcept;

  struct Impl;

 private:
  explicit TraceReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
