// Translators that are affine: fitted in closed form from sums, so that no hidden state is stored.
// Next in the flow: calibrate/mlp.h, which adds what an affine map cannot say.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/result.h"

namespace fathom {

/// An affine map near the identity: y = x + (x down) up + bias, or y = x + x down + bias where rank is 0.
struct AffineTranslator {
  int32_t width = 0;        // d
  int32_t rank = 0;         // r; 0: the residual has full rank and `up` is empty
  std::vector<float> down;  // [d, r], or [d, d]: row i is what input i adds
  std::vector<float> up;    // [r, d]
  std::vector<float> bias;  // [d]
};

/// dst = the translation of x.
///   x, dst   [n, d]   may not overlap
///   cost     2 n d^2 operations, or 4 n d r
FATHOM_API void translate(const AffineTranslator& translator, std::span<const float> x, std::span<float> dst);

enum class RidgePenalty : uint8_t {
  uniform,      ///< lambda * trace(C) / d for every input
  by_variance,  ///< lambda * C[i, i]: the fit does not depend on the inputs' units, which matters where a few are huge
};

struct RidgeOptions {
  float lambda = 1e-3f;  // relative: a share of the inputs' variance
  RidgePenalty penalty = RidgePenalty::uniform;
};

/// Centred second moments of pairs of rows x and t = y - x: all that an affine fit, or the error of one, needs of them.
struct PairMoments {
  int64_t n = 0;
  std::vector<double> mean_x;  // [d]
  std::vector<double> mean_t;  // [d]
  std::vector<double> xx;      // [d, d] sums of centred products; entry [j, i] for i >= j, the others are 0
  std::vector<double> xt;      // [d, d] entry [j, i]: target j, input i
  std::vector<double> tt;      // [d]
};

/// Ridge regression of y - x on x, streaming. Shrinking the residual shrinks the map to x + a constant: layers of a
/// residual network are near the identity, and none of them is near 0.
///
/// Rows are folded in blocks of 256 whatever the chunks they come in, so the chunking changes no bit. A block is
/// centred in double, multiplied in f32 and added in double; a product's rounding is below 256 * 2^-24 of the sum of
/// its terms' magnitudes, and is independent from block to block.
///   memory   16 d^2 bytes, 4 d^2 more while a block is folded, 2 KiB * d of rows that wait
///   source   Chan, Golub, LeVeque 1983 (sums of centred blocks)
class FATHOM_API RidgeFit {
 public:
  explicit RidgeFit(int32_t width);

  int32_t width() const { return width_; }
  int64_t rows() const { return moments_.n + static_cast<int64_t>(waiting_x_.size()) / width_; }

  /// Takes more rows.
  ///   x, y     [n, d]
  ///   errors   shape: not whole rows, or not as many of each; argument: a value that is not finite, by row (counted
  ///            over all calls) and column. After an error nothing of the chunk was taken.
  ///   cost     3 n d^2 operations
  Result<void> add(std::span<const float> x, std::span<const float> y);

  /// The moments of all rows so far.
  PairMoments moments() const;

  /// The map of full rank.
  ///   errors   argument: no rows, a lambda below 0, or one so small that the inputs' covariance cannot be inverted
  ///   cost     7/3 d^3 operations in double
  Result<AffineTranslator> solve(const RidgeOptions& options = {}) const;

 private:
  int32_t width_;
  PairMoments moments_;
  std::vector<float> waiting_x_, waiting_y_;  // [< 256, d]
};

/// The same from moments.
FATHOM_API Result<AffineTranslator> solve_ridge(const PairMoments& moments, const RidgeOptions& options = {});

/// The best map whose residual has rank r, under the ridge's own penalised error: the ridge map projected on the
/// leading r directions of its fitted values.
///   metric   [d] or empty   what an output's error is multiplied with
///   errors   as solve_ridge; argument: rank outside [1, d], a metric that is not finite or only zeros
///   cost     13/3 d^3 operations, and about 10 to 60 times 2 d^2 (r + 16)
///   source   Izenman 1975 (reduced-rank regression); Mukherjee, Zhu 2011 (its ridge); directions by subspace iteration
///            (Halko, Martinsson, Tropp 2011, algorithm 4.4), stopped where what they capture grows by less than 1e-10
FATHOM_API Result<AffineTranslator> solve_low_rank(const PairMoments& moments, int32_t rank,
                                                   const RidgeOptions& options = {},
                                                   std::span<const float> metric = {});

/// Mean over rows and outputs of (metric[j] * (y - translation)[j])^2, a quadratic form of the moments of those rows.
///   metric   [d] or empty
///   cost     2 d^3 operations, or 4 d^2 r; below 1e-6 of the targets' own mean square it is rounding
FATHOM_API double mean_squared_error(const AffineTranslator& translator, const PairMoments& held_out,
                                     std::span<const float> metric = {});

/// The default choices of choose_ridge.
inline constexpr float kRidgeLambdas[] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};

struct RidgeChoice {
  AffineTranslator translator;
  RidgeOptions options;
  double error = 0;            // on the held-out rows
  double identity_error = 0;   // of y = x, on the same
  std::vector<double> errors;  // [lambdas]; NaN where a lambda was too small to be solved
};

/// The lambda with the least error on held-out rows; of equals, the largest.
///   errors   argument: no rows on a side, no lambda that can be solved; shape: widths that differ
FATHOM_API Result<RidgeChoice> choose_ridge(const PairMoments& fit, const PairMoments& held_out,
                                            std::span<const float> lambdas = kRidgeLambdas,
                                            RidgePenalty penalty = RidgePenalty::uniform,
                                            std::span<const float> metric = {});

}  // namespace fathom
