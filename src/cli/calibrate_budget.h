// --budget-minutes: fewer pieces where there is no time for all. Next: calibrate_budget.cc.
#pragma once

#include <cstdint>

#include "fathom/calibrate/calibrate.h"

namespace fathom::cli {

/// Pieces of each group for which a calibration has time, `asked` at most; says what is left out and what the promise
/// loses by it. A run that is gone on with keeps the number that it began with. options.journal keeps the number.
///   pieces   as many as were asked for
///   errors   capacity: there is time for none; those of rehearse()
Result<int32_t> pieces_in_budget(const Model& model, const Pieces& pieces, CalibrateOptions& options, double minutes,
                                 int32_t asked);

}  // namespace fathom::cli
