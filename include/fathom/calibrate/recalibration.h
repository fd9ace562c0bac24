// Is the promise kept? The whole selection, run again and again on resampled pieces whose true risks are known.
// Next in the flow: docs/calibration.md, "The promise, exactly".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fathom/calibrate/selection.h"
#include "fathom/core/result.h"

namespace fathom {

/// What is taken as one independent draw.
enum class Unit : uint8_t {
  document,  ///< a document counts once, with the mean of its pieces' losses
  piece,     ///< each piece counts: right where pieces were drawn independently, one of a document for instance
};

/// One piece of recorded text, and what each candidate lost on it.
struct PoolPiece {
  int32_t group = 0;          // index into LossPool::groups
  int32_t document = 0;       // any number; pieces of a group with the same one come from the same document
  std::vector<float> losses;  // [candidates]  in [0, 1], from the safest candidate to the boldest
};

struct LossPool {
  std::vector<std::string> groups;
  std::vector<PoolPiece> pieces;
};

/// What the selection sees of a pool.
///   errors   argument: a group that is not one; shape: pieces with unequal numbers of candidates
FATHOM_API Result<LossTable> table_of(const LossPool& pool, Unit unit = Unit::document);

struct RecalibrationOptions {
  CertifyOptions certify = {};
  bool own_thresholds = false;  // certify_each() in place of certify_for_all()
  Unit unit = Unit::document;
  int32_t n_drawn = 0;  // documents (pieces of a single one) drawn for each group; 0: as many as the pool has
  int32_t runs = 1000;
  uint64_t seed = 1;
};

/// How often the choice was riskier than it claims.
struct Recalibration {
  int32_t runs = 0;
  int32_t certified = 0;                 // runs in which every sequence chose a candidate
  int32_t broken = 0;                    // runs in which any choice is riskier, in any group it is for, than its level
  int32_t allowed = 0;                   // most runs that chance explains at 1 - confidence
  std::vector<int32_t> broken_in = {};   // [groups] the same of one group
  std::vector<int32_t> allowed_in = {};  // [groups] at the share of 1 - confidence that one group is given

  bool kept() const;
};

/// What a selection does on the losses that it was made from, drawn anew, at some level of risk.
struct DrawnAgain {
  double risk = 0;
  bool promised = true;  // false: the level at which a wrong choice is likeliest
  Recalibration outcome = {};
};

/// The selection at its own levels, and at the one just below what the boldest of the candidates loses in the worst
/// group, where passing that candidate is wrong and yet likeliest.
///   returns  [2] or, where no candidate loses anything, [1]
///   errors   as recalibrate()
FATHOM_API Result<std::vector<DrawnAgain>> draw_again(const LossPool& pool, const CertifyOptions& options);

/// The most failures in `runs` that a chance of `delta` explains: its 99.9 % quantile.
FATHOM_API int32_t allowed_failures(int32_t runs, double delta);

/// Draws documents with replacement out of each group, selects as for a certificate, and compares the chosen
/// candidate's mean in the pool with the level; `runs` times. The pool is the truth here, so no other text is needed.
///   errors   as table_of() and certify_for_all(); argument: no runs, a negative n_drawn
///   cost     one selection for each run, on one thread
FATHOM_API Result<Recalibration> recalibrate(const LossPool& pool, const RecalibrationOptions& options = {});

}  // namespace fathom
