// What a calibration is refused for, before anything is run. Next: calibrate_check.cc.
#pragma once

#include "fathom/calibrate/calibrate.h"

namespace fathom {

///   errors   argument: what is out of range, with the limits of calibrate/limits.h
Result<void> check(const Pieces& pieces, const CalibrateOptions& options, const ModelConfig& config);

}  // namespace fathom
