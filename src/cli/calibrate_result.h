// What a calibration found, as sections of a sidecar and as lines for people. Next: calibrate_result.cc.
#pragma once

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/manifest.h"
#include "src/cli/command.h"

namespace fathom::cli {

/// The section "manifest": what a second run with the same seed would repeat.
Manifest manifest_of(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options,
                     const SidecarBinding& model);

/// The section "measured": timings, and what they chose.
Json measured_of(const Calibration& found, const Pieces& pieces);

/// The same in words on stderr, with a warning for each group that lacks pieces.
void tell(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options);

}  // namespace fathom::cli
