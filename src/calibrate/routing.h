// Routers from fit to proposal, and how good they are. Next in the flow: src/calibrate/family.h.
#pragma once

#include <span>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/exit_trials.h"
#include "src/calibrate/router_fitting.h"
#include "src/calibrate/router_trials.h"

namespace fathom {

template <class P>
void pack(P& p, FittedRouter& router) {
  p(router.layer), p(router.weights), p(router.bias), p(router.spare);
}

/// What was learned of routers on pieces of Split::fit.
struct RoutingRecord {
  std::vector<FittedRouter> routers;
  std::vector<RouteTrial> trials;
  std::vector<CalibratedSetting> settings;  // proposed, safest first; empty: none is forecast to save
  double forecast = 1;                      // of the best of them, in bytes of a row at full depth
};
template <class P>
void pack(P& p, RoutingRecord& record) {
  p(record.routers), p(record.trials);  // the rest follows from these
}

/// Fits routers and tries them; the runner's session uses them, and no exits, afterwards.
///   texts    of Split::fit
///   cost     that of router_rows(), and as many passes over a few pieces as there are light ways and thresholds within
///            the risk
Result<RoutingRecord> fit_routing(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                                  const CalibrateOptions& options, const RowCost& cost, Progress& progress);

/// How good routers are on pieces that nothing was chosen on.
struct RouterJudgement {
  std::vector<RouterQuality> quality;
  std::vector<double> oracle_time;  // [groups] if each row stopped at the first layer that already has the answer
};
template <class P>
void pack(P& p, RouterJudgement& judgement) {
  p(judgement.quality), p(judgement.oracle_time);
}

/// The runner's session uses no exits afterwards.
///   cost     that of router_rows()
Result<RouterJudgement> judge_routers(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                                      std::span<const FittedRouter> routers, const RowCost& cost, Progress& progress);

}  // namespace fathom
