// Family: exits, skips or routes, and which of them is certified. Next in the flow: src/calibrate/certificates.h.
#pragma once

#include <span>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/exit_trials.h"

namespace fathom {

/// What decides about depth in the settings of one fixed sequence.
enum class Family { exits, skips, routes };

/// Bytes that the best of each family is forecast to read, over those of full depth; 1: none is forecast to save some
/// and to lose at most kProposalRoom of the risk.
struct FamilyForecasts {
  double exits = 1, skips = 1, routes = 1;

  /// The family that reads least; of equal ones the first, whose behaviour is known best.
  Family least() const;
};

/// By pieces of Split::fit alone, so that whichever is certified has all of the confidence to itself.
///   skips    as proposed for certificates, `predicted` and `forecast` filled
///   routes   the forecast of their proposal
FamilyForecasts forecasts_of(const Proposal& exits, std::span<const CalibratedSetting> skips, double routes,
                             double risk);

}  // namespace fathom
