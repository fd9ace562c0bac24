// Rehearsal: how long a calibration takes here, from two short ones. Next in the flow: src/cli/calibrate.cc, which asks
// for fewer pieces where there is no time for all.
#pragma once

#include <cstdint>

#include "fathom/calibrate/calibrate.h"

namespace fathom {

struct Rehearsal {
  double seconds = 0;   // that both took
  double fixed = 0;     // of a run, whatever the number of pieces, speeds included
  double each = 0;      // for one more piece of each group
  int32_t longest = 0;  // pieces of each group in the longer one

  /// Pieces of each group for which there is time; 0: for none, `fixed` alone takes longer.
  int32_t pieces_in(double seconds_left) const;
  /// What a run with so many takes, rehearsal included.
  double minutes_for(int32_t pieces) const { return (seconds + fixed + each * pieces) / 60; }
};

/// Calibrates twice on the first pieces of each group, up to the speeds, and keeps nothing of it. The time between is
/// taken as linear in the pieces: heads are asked at a bounded number of places, so that more pieces take less.
///   errors   those of calibrate()
FATHOM_API Result<Rehearsal> rehearse(const Model& model, const Pieces& pieces, const CalibrateOptions& options);

}  // namespace fathom
