// From a score to P(agrees with full depth): Platt's sigmoid, isotonic regression, and how well either is calibrated.
// Next in the flow: calibrate/bound.h, which certifies a threshold on what comes out.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/result.h"

namespace fathom {

/// A rising map from a score to a probability: a sigmoid, or lines between at most 32 knots. A value without memory of
/// its own; a score that is NaN maps to 0, the answer that saves nothing.
struct AgreementMap {
  static constexpr int32_t kMaxKnots = 32;

  float slope = 0;                             // a of sigmoid(a s + b), 0 or more; unused where there are knots
  float offset = 0;                            // b
  int32_t n_knots = 0;                         // 0: the sigmoid
  std::array<float, kMaxKnots> scores{};       // [n_knots] rising
  std::array<float, kMaxKnots> probability{};  // [n_knots] never falling

  bool operator==(const AgreementMap&) const = default;

  /// P(agrees); beyond the first and the last knot theirs.
  ///   cost   one exponential, or at most five comparisons and one line
  FATHOM_API float operator()(float score) const noexcept;

  /// As numbers to store: {slope, offset}, or the scores and then their probabilities, with their count in front.
  FATHOM_API std::vector<float> to_floats() const;

  /// The map of such numbers, which may come from anywhere.
  ///   errors   format: a wrong count, a value that is not finite, a map that falls or leaves [0, 1]
  FATHOM_API static Result<AgreementMap> from_floats(std::span<const float> values);
};

/// A sigmoid by maximum likelihood with Platt's targets (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), for a share between 0
/// and 1 what lies between; a slope below 0 becomes 0.
///   scores   [n]
///   agreed   [n]   how far each row agrees, 0 to 1: a label, or one less a loss
///   errors   argument: no rows, a score that is not finite (by row), a share outside [0, 1]; shape
///   source   Platt 1999; Newton's method as in Lin, Lin, Weng 2007, on standardised scores
FATHOM_API Result<AgreementMap> fit_platt(std::span<const float> scores, std::span<const float> agreed);

/// A stretch of scores that share one fitted value.
struct IsotonicBlock {
  double score = 0;  // mean of its rows'
  double value = 0;  // mean of its rows' shares
  int64_t n = 0;     // rows
};

/// The rising step function nearest to the shares in the squared sense, by pooling adjacent violators; rows of equal
/// score are one from the start.
///   errors   as fit_platt
///   source   Ayer, Brunk, Ewing, Reid, Silverman 1955
FATHOM_API Result<std::vector<IsotonicBlock>> fit_isotonic(std::span<const float> scores,
                                                           std::span<const float> agreed);

/// Lines through the centres of blocks. Neighbours are joined, first those whose joining adds least squared error,
/// until none has fewer than 8 rows and at most 32 are left; values are kept inside [1 / (n + 2), (n + 1) / (n + 2)].
///   blocks   as fit_isotonic returns them
FATHOM_API AgreementMap to_agreement_map(std::span<const IsotonicBlock> blocks);

/// Scores of rows and how far each agreed.
struct ScoredRows {
  std::span<const float> scores;  // [n]
  std::span<const float> agreed;  // [n] 0 to 1
};

/// Platt's map or the isotonic one, whichever has the smaller log loss on held-out rows; Platt's where they are equal.
///   errors   as fit_platt, for either set of rows
FATHOM_API Result<AgreementMap> fit_agreement(const ScoredRows& training, const ScoredRows& held_out);

/// Mean of -log P(what happened), nats; infinite where a probability of 0 or 1 was wrong.
FATHOM_API double log_loss(const AgreementMap& map, const ScoredRows& rows);

struct ReliabilityBin {
  double probability = 0;  // mean of its rows'; the bin's middle where it has none
  double agreed = 0;       // mean of its rows' shares; NaN where it has none
  int64_t n = 0;
};

struct Reliability {
  std::vector<ReliabilityBin> bins;  // of equal width over [0, 1]
  double expected_error = 0;         // sum over bins of n / N * |agreed - probability|
};

/// A reliability diagram and the expected calibration error. With N rows even a perfect map shows about
/// sqrt(bins / (2 pi N)), which is the noise of the bins' shares.
///   p        [n]   predicted, in [0, 1]
///   errors   argument: no rows, a p or a share outside [0, 1] or NaN (by row), bins below 1; shape
///   source   Naeini, Cooper, Hauskrecht 2015
FATHOM_API Result<Reliability> reliability(std::span<const float> p, std::span<const float> agreed, int32_t bins = 15);

}  // namespace fathom
