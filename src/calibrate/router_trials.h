// Trying routes: which thresholds and light ways are worth a certificate, from runs of the composed policy.
// Next in the flow: src/calibrate/settings.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "fathom/policy/route.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// What a route did on the pieces that it was tried on.
struct RouteTrial {
  Light light = Light::none;
  float threshold = 0;    // utility_below
  double worst = 0;       // mean loss of the worst group
  double work = 1;        // share of full depth's multiply-adds
  double mean_depth = 0;  // layers
};

/// Runs routes with their own cache: each light way from the safest threshold on, until a group loses more than `risk`,
/// that run included.
///   texts    a few pieces that routers' weights were not fitted on, of each group
///   truth    [texts] full depth's tokens
Result<std::vector<RouteTrial>> try_routes(PieceRunner& runner, std::span<const PieceText* const> texts,
                                           std::span<const std::vector<int32_t>> truth, size_t n_groups, double risk,
                                           Progress& progress);

/// The first pieces of each group, as many as a trial takes.
std::vector<const PieceText*> route_trial_texts(std::span<const PieceText* const> texts, size_t n_groups);

/// Settings for a certificate.
struct RouteProposal {
  std::vector<CalibratedSetting> settings;  // safest first; empty: nothing is forecast to save
  double work = 1;                          // of the best at the first risk
};

/// Thresholds of the light way with least work well within the first risk: around the best one for each risk.
RouteProposal propose_routes(std::span<const RouteTrial> trials, std::span<const double> risks, int32_t n_settings);

}  // namespace fathom
