// SideBySide: several sequences that go on together, one row of each a step. Next in the flow:
// src/calibrate/attack_writing.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/calibrate/adaptation.h"
#include "fathom/engine/session.h"

namespace fathom {

/// What a step says of each sequence; valid until the next.
struct SideStep {
  std::span<const RowResult> rows;     // [sequences]
  std::span<const RowResult> settled;  // rows of earlier steps that ran layers they owed
  std::span<const LogitStats> stats;   // [sequences] of what is predicted
  View<const float, 2> logits;         // [sequences, vocab]
};

class SideBySide {
 public:
  ///   fitted   what policies to come need of a session
  ///   tokens   of a sequence, at most
  ///   owed     rows of a sequence that may owe layers under the policies to come
  ///   errors   those of Session::make() and Adaptation::attach()
  static Result<SideBySide> make(const Model& model, const Adaptation& fitted, int32_t sequences, int32_t tokens,
                                 int32_t owed, int threads);

  /// Makes all sequences new, with what begins a text.
  Result<void> begin();

  /// Every sequence goes on by one token, as if it had been written.
  ///   errors   those of Session::step(); format: logits that are not finite
  Result<SideStep> step(std::span<const int32_t> tokens, const Policy& policy);

  /// Takes back the last token of each.
  Result<void> back();

  int32_t sequences() const { return session_.options().max_sequences; }
  const Session& session() const { return session_; }

 private:
  explicit SideBySide(Session session) : session_(std::move(session)) {}

  Session session_;
  std::vector<Row> rows_;
  std::vector<LogitStats> stats_;
};

}  // namespace fathom
