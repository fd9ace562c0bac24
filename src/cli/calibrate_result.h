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

/// The same in words on stderr, and what of the text was left out.
void tell(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options);

/// Warns, group by group, of pieces that are missing: to fit on, of those that were asked for, and for each risk.
void warn_of_missing(const Calibration& found, const Pieces& pieces);

}  // namespace fathom::cli
