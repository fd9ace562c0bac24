// Upper limits of a mean loss from a finite number of pieces: what a certificate rests on.
// Next in the flow: calibrate/selection.h, which asks these limits of one candidate after the other.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"

namespace fathom {

/// How the mean of losses in [0, 1] is bounded. Choose before the losses are looked at: the smallest of several limits
/// is not a limit. All hold at every n and ask only that the losses be independent draws of one distribution.
enum class Bound : uint8_t {
  binomial,           ///< exact tails; losses are 0 or 1 (one random position of each piece)
  betting,            ///< means in [0, 1]; close where most losses are 0 and few are large
  hoeffding_bentkus,  ///< means in [0, 1]; needs the mean only, and takes every spread for the worst
};
FATHOM_API std::string_view name(Bound bound);

/// P(Bin(n, risk) <= errors): the p-value of "the risk is `risk` or more".
///   returns  1 where the arguments are out of range: they prove nothing
FATHOM_API double binomial_p_value(int64_t errors, int64_t n, double risk);

/// The risk that is exceeded with probability delta at most.
///   returns  1 where the arguments are out of range
///   source   Clopper, Pearson 1934
FATHOM_API double binomial_upper(int64_t errors, int64_t n, double delta);

/// A p-value of "the mean loss is `risk` or more": it is at most delta with probability at most delta where that is so.
///   losses   [pieces]  in [0, 1], one of each piece; their order does not matter
///   returns  1 for no losses
///   errors   argument: a loss outside [0, 1] or NaN, one between for Bound::binomial; a risk outside (0, 1)
///   source   betting: Waudby-Smith, Ramdas 2024, section 4; its mixture of fixed bets: Cover 1991
///            hoeffding_bentkus: Bates et al. 2021
FATHOM_API Result<double> mean_p_value(std::span<const float> losses, double risk, Bound bound = Bound::betting);

/// The upper limit of the mean loss: below the true mean with probability delta at most. It is the smallest risk that
/// mean_p_value() rejects at delta, to 1e-12 and from above.
///   returns  1 for no losses
///   errors   argument: as mean_p_value(), a delta outside (0, 1)
///   cost     40 p-values (betting, hoeffding_bentkus)
FATHOM_API Result<double> mean_upper(std::span<const float> losses, double delta, Bound bound = Bound::betting);

/// What pieces_needed() says where no number of pieces is enough.
inline constexpr int64_t kNoPiecesSuffice = std::numeric_limits<int64_t>::max();

/// The least number of pieces from which `risk` can be certified at delta, if their mean loss is `mean` and all lose
/// the same; any spread asks for more. With mean 0 and Bound::binomial or hoeffding_bentkus it is ceil(log(delta) /
/// log(1 - risk)). With a mean above 0 a share (risk - mean) / (1 - mean) of pieces with loss 1 would break the
/// promise, and so many pieces have to be seen before one such piece would have shown.
///   returns  kNoPiecesSuffice where mean >= risk, or an argument is out of range
FATHOM_API int64_t pieces_needed(double risk, double delta, double mean = 0, Bound bound = Bound::betting);

}  // namespace fathom
