// Reference: full depth's answers beside a policy's, place by place, and what the policy loses against them.
// Next in the flow: src/calibrate/settings.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// Full depth's tokens where some pieces are compared with it, if the runner's loss needs no more. Where it compares
/// logits, which are too many to keep, nothing is run and each list is empty: a Reference runs full depth again.
///   returns  [texts][PieceText::compared()]
Result<std::vector<std::vector<int32_t>>> true_tokens(PieceRunner& runner, std::span<const PieceText* const> texts,
                                                      Progress& progress);

/// Whether what was kept has a token of the vocabulary for every place that is compared.
bool are_tokens(std::span<const PieceText* const> texts, const std::vector<std::vector<int32_t>>& kept, int32_t vocab);

/// Compares by the runner's loss.
///   memory   where logits are compared, a second session, with logits of 64 rows
class Reference {
 public:
  explicit Reference(PieceRunner& runner) : runner_(runner) {}

  /// The coming losses are of one text. Both lists need live as long as losses are asked for.
  ///   asked    the places at which there will be losses, rising
  ///   tokens   [asked] full depth's; none where logits are compared
  Result<void> begin(const PieceText& text, std::span<const int32_t> asked, std::span<const int32_t> tokens);

  /// What answers at places of one step lose. Steps go forward through the text; a step may be asked several times.
  ///   places   [n] rising
  ///   stats    [n]
  ///   logits   [n, vocab]
  ///   returns  [n] valid until the next call
  ///   errors   those of a step at full depth
  ///   cost     where logits are compared, a pass at full depth beside, and two exponentials a token and place
  Result<std::span<const float>> losses(std::span<const int32_t> places, std::span<const LogitStats> stats,
                                        View<const float, 2> logits) {
    return measure(&Loss::operator(), places, stats, logits);
  }
  Result<std::span<const float>> losses(const PieceStep& step) { return losses(step.places, step.stats, step.logits); }
  /// The same of Loss::target().
  Result<std::span<const float>> targets(std::span<const int32_t> places, std::span<const LogitStats> stats,
                                         View<const float, 2> logits) {
    return measure(&Loss::target, places, stats, logits);
  }

 private:
  using Measure = float (Loss::*)(const Answer& full, const Answer& early) const;
  Result<std::span<const float>> measure(Measure measure, std::span<const int32_t> places,
                                         std::span<const LogitStats> stats, View<const float, 2> logits);
  int32_t token_at(int32_t place) const;

  PieceRunner& runner_;
  const PieceText* text_ = nullptr;
  std::span<const int32_t> asked_, tokens_;
  PieceRunner* full_ = nullptr;  // at full depth, beside; null: tokens are compared
  PieceStep there_;              // its last step
  std::vector<float> measured_;
};

}  // namespace fathom
