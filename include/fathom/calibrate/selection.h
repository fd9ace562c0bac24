// The boldest candidate whose risk is certified in every group, or in each: Learn-then-Test over a fixed order.
// Next in the flow: calibrate/recalibration.h, which asks whether the promise is kept.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/bound.h"
#include "fathom/core/result.h"

namespace fathom {

/// The losses of candidates (policies) on the same pieces of text. The order of the candidates, from the safest to the
/// boldest, comes from other text than these losses: an order that looked at them is not fixed.
struct LossTable {
  std::vector<std::string> groups;                      // [groups]
  std::vector<std::vector<std::vector<float>>> losses;  // [candidates][groups][pieces of the group]  in [0, 1]
};

struct CertifyOptions {
  std::vector<double> risks = {0.02};  // levels that all hold together
  double confidence = 0.95;            // of everything that one call returns, together
  Bound bound = Bound::betting;
};

/// What the pieces of one group say of one candidate.
struct GroupBound {
  int32_t group = 0;   // index into LossTable::groups
  int64_t n = 0;       // pieces
  double mean = 0;     // of their losses; 0 for no pieces
  double upper = 1;    // limit of the true mean, at Choice::delta
  double p_value = 1;  // of "the risk is Choice::risk or more"
  int64_t needed = 0;  // pieces_needed() with this mean; kNoPiecesSuffice: the mean itself is too high

  /// Pieces that are missing at least; 0 where it is not their number, or nothing would help.
  int64_t missing() const { return needed == kNoPiecesSuffice || needed < n ? 0 : needed - n; }
};

/// The outcome of one fixed sequence.
struct Choice {
  double risk = 0;
  double delta = 0;                      // the share of 1 - confidence that this sequence was given
  int32_t group = -1;                    // the group whose own choice this is; -1: one for all groups
  int32_t candidate = -1;                // the last that passed; -1: none did
  std::vector<GroupBound> passed = {};   // of `candidate`; empty where none passed
  std::vector<GroupBound> refused = {};  // of the candidate behind it, with which the sequence ended; empty at the end

  bool certified() const { return candidate >= 0; }
};

/// The fixed sequence by itself: candidates are tested in order, each in all of the given groups, and the first that
/// fails in any of them ends it. The chance that the answer's true risk is over `risk` in any of the groups is delta at
/// most: only the first candidate of which that is so can be passed in error (a group without pieces passes nothing).
///   groups   indices into table.groups
///   returns  the last candidate that passed, or -1
///   errors   argument: as mean_p_value(), naming candidate and group; no groups; an index that is not one
///   source   Angelopoulos et al. 2021 (Learn then Test, fixed sequence testing); Berger 1982 (intersection-union test)
FATHOM_API Result<int32_t> last_certified(const LossTable& table, std::span<const int32_t> groups, double risk,
                                          double delta, Bound bound);

/// One setting for all groups: each group is tested at (1 - confidence) / risks, for a setting passes only where every
/// group does, and the chance of that is no larger than in the worst group alone.
///   returns  [risks]
///   errors   argument: as last_certified(), options out of range; shape: candidates with other groups or pieces
FATHOM_API Result<std::vector<Choice>> certify_for_all(const LossTable& table, const CertifyOptions& options = {});

/// Thresholds of each group's own: a sequence for each, at (1 - confidence) / (risks * groups). To use them beside one
/// setting for all, from the same pieces, give half of 1 - confidence to each call.
///   returns  [risks * groups], the groups of one risk together
///   errors   as certify_for_all()
FATHOM_API Result<std::vector<Choice>> certify_each(const LossTable& table, const CertifyOptions& options = {});

}  // namespace fathom
