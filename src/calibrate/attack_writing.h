// Sequences that are written token by token with the model itself: its own, those with wrong tokens where it is sure,
// and those of a search for confident errors. Next in the flow: src/calibrate/attack.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "fathom/calibrate/attack.h"
#include "src/calibrate/progress.h"
#include "src/calibrate/side_by_side.h"

namespace fathom {

/// A sequence that tempts.
struct AttackText {
  std::vector<int32_t> tokens;
  int32_t trap = 0;  // place of the token that breaks what came before; 0: all of it may
};

/// Draws tokens as the model would at temperature 1, out of its likeliest, control tokens left out.
class TokenDraw {
 public:
  explicit TokenDraw(const Model& model, uint64_t seed);

  /// Different tokens for a place of a sequence, as drawn one after the other without putting back.
  ///   logits   [vocab] of what precedes
  ///   returns  n, or as many as there are
  std::vector<int32_t> behind(std::span<const float> logits, int32_t sequence, int32_t place, int32_t n);

  /// Any token that is text, each as likely: what a sequence begins with.
  int32_t any(int32_t sequence) const;

 private:
  uint64_t seed_;
  std::vector<int32_t> text_, other_;  // ids
  std::vector<float> scratch_;         // [vocab]
};

/// The model's own writing behind a random token.
Result<std::vector<AttackText>> own_writing(SideBySide& full, TokenDraw& draw, int32_t tokens, Progress& progress);

/// The same, but where the model is sure of a token another stands.
Result<std::vector<AttackText>> wrong_prefixes(SideBySide& full, TokenDraw& draw, int32_t tokens, Progress& progress);

/// At each place some tokens that the model might have written are tried, and the one is kept behind which the policy
/// is surest of an early answer that full depth finds least likely.
///   tried   runs the policy; full and tried have as many sequences
///   cost    2 * (candidates + 1) steps for each token
Result<std::vector<AttackText>> search_errors(SideBySide& full, SideBySide& tried, TokenDraw& draw,
                                              const Policy& policy, const AttackOptions& options, Progress& progress);

}  // namespace fathom
