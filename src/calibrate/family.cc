// Family: the same yardstick for all, bytes within the risk.
#include "src/calibrate/family.h"

#include <algorithm>

namespace fathom {

Family FamilyForecasts::least() const {
  if (exits <= skips && exits <= routes) return Family::exits;
  return skips <= routes ? Family::skips : Family::routes;
}

FamilyForecasts forecasts_of(const Proposal& exits, std::span<const CalibratedSetting> skips, double routes,
                             double risk) {
  FamilyForecasts out{.routes = std::min(routes, 1.0)};
  if (const int32_t best = exits.best_at(risk); best >= 0)
    out.exits = std::min(exits.forecasts[size_t(best)].time, 1.0);
  for (const CalibratedSetting& skip : skips) {
    if (skip.predicted <= kProposalRoom * risk) out.skips = std::min(out.skips, skip.forecast);
  }
  return out;
}

}  // namespace fathom
