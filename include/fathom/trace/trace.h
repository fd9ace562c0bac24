// Trace: the append-only record of every decision. The engine hands over what it has in hand; the file is written in
// whole records, so a crash loses at most the last one. Next in the flow: trace/replay.h, which reads it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "fathom/core/result.h"
#include "fathom/head/head_way.h"
#include "fathom/policy/decision.h"

namespace fathom {

/// What a trace starts with.
struct TraceHeader {
  uint64_t model_fingerprint = 0;
  uint64_t tokenizer_fingerprint = 0;
  std::string numeric_path;
  std::string policy;    // text form
  std::string run_json;  // what `replay --check` needs to run again: prompt ids, sampling, seed, limits
  int32_t n_layers = 0;
  bool encodes = false;  // the model is an encoder: a row looks at all of its text, not only at what is before it
};

/// What a row is in its step.
enum class RowRole : uint8_t {
  certain,  ///< its token is the text's; its policy decides its depth
  draft,    ///< its token is a guess, and it may be taken back
  settled,  ///< it entered in an earlier step and runs the layers that it owes; no policy decides about it here
};

/// A row entering a step. A settled row enters again under the sequence and position that it has.
struct TraceRow {
  int32_t sequence = 0;
  int32_t position = 0;
  int32_t token = 0;
  RowKind kind = RowKind::prompt;
  RowRole role = RowRole::certain;
};

/// The end of a row in a step: what it cost so far and, where it predicted, what was committed. A row that settles ends
/// once more: depth and work are those of both steps together, the token is what full depth says.
struct TraceCommit {
  int32_t sequence = 0;
  int32_t position = 0;
  int32_t token = -1;            // the token chosen after this position; -1: none was asked for
  float depth = 0;               // layers run
  float work = 0;                // of one full-depth row
  HeadWay head = HeadWay::none;  // how the head came to the logits that it was chosen from
};

/// Positions taken back: those of the sequence from `length` on, all of them generated rows. Its next rows begin there.
struct TraceRollback {
  int32_t sequence = 0;
  int32_t length = 0;
};

/// What a pass was going to draft for one sequence. From `position + own` on its generated rows run all layers and no
/// policy is asked about them, up to the sequence's next choice.
struct TraceChoice {
  int32_t sequence = 0;
  int32_t position = 0;    // of the pass's first row that does not settle
  int32_t own = 0;         // rows to be drafted under the policy's savings, the first included
  int32_t source = 0;      // proposed tokens taken in as rows beside the first
  int32_t proposed = 0;    // tokens that the source had
  int32_t confidence = 0;  // class of the proposal
};

/// What became of a row of an encoder's text: engine/embed.h, TokenFate.
struct TraceFate {
  int32_t sequence = 0;
  int32_t position = 0;
  int32_t removed_at = -1;  // layers behind it when it was dropped or joined another; -1: it ran to the end
  int32_t joined = -1;      // the position of that other row; -1: it joined none
  float share = 0;          // of the embedding, not negative
};

class FATHOM_API Trace {
 public:
  /// Opens a file for writing; an existing one is replaced.
  ///   errors   file: the path and the system's reason
  static Result<Trace> create(const std::string& path, const TraceHeader& header);

  Trace(Trace&&) noexcept;
  Trace& operator=(Trace&&) noexcept;
  ~Trace();

  /// Layers of the model that the header is about; a boundary behind any other is a failure, see finish().
  int32_t n_layers() const noexcept;

  // The engine's side: for each step choice, rows, boundary, fates, commit and rollback, in this order, those that
  // there are. Failures to write are kept and reported by finish(); running goes on.
  void choice(std::span<const TraceChoice> choices) noexcept;
  void rows(std::span<const TraceRow> rows) noexcept;
  /// All rows of one boundary: what was seen and said. `computed`, by RowKind, are the signals that were looked at; one
  /// of them that is NaN was not there to be seen. `sequences[i]` is the sequence of steps[i].
  void boundary(std::span<const SignalSet, 2> computed, std::span<const int32_t> sequences, std::span<const Step> steps,
                std::span<const Decision> decisions) noexcept;
  void fates(std::span<const TraceFate> fates) noexcept;
  void commit(std::span<const TraceCommit> commits) noexcept;
  void rollback(std::span<const TraceRollback> rollbacks) noexcept;

  /// Writes what is buffered. Called by the destructor too, where the error is lost.
  ///   errors   file: the first failure to write; argument: a boundary of a model with more layers than the header says
  Result<void> finish();

 private:
  struct Impl;
  explicit Trace(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
