// Trying routes: every light way at rising thresholds, on a few pieces.
#include "src/calibrate/router_trials.h"

#include <algorithm>

#include "src/calibrate/candidates.h"
#include "src/calibrate/settings.h"

namespace fathom {
namespace {

constexpr Light kLights[] = {Light::none, Light::feed_forward, Light::attention};
constexpr float kThresholds[] = {.002f, .005f, .01f, .02f, .05f, .1f, .2f, .3f};
constexpr size_t kTrialPieces = 12;  // of a group

}  // namespace

std::vector<const PieceText*> route_trial_texts(std::span<const PieceText* const> texts, size_t n_groups) {
  std::vector<size_t> taken(n_groups);
  std::vector<const PieceText*> out;
  for (const PieceText* text : texts) {
    if (taken[size_t(text->group)]++ < kTrialPieces) out.push_back(text);
  }
  return out;
}

Result<std::vector<RouteTrial>> try_routes(PieceRunner& runner, std::span<const PieceText* const> texts,
                                           std::span<const std::vector<int32_t>> truth, size_t n_groups, double risk,
                                           Progress& progress) {
  std::vector<RouteTrial> trials;
  for (const Light light : kLights) {
    for (const float threshold : kThresholds) {
      progress.begin("trying routes", 0.03 / double(std::size(kLights) * std::size(kThresholds)));
      const Policy policy = route{.utility_below = threshold, .light = light};
      FATHOM_TRY(const SettingRun run, run_setting(runner, texts, truth, policy, n_groups, progress));
      const double worst = *std::max_element(run.mean_loss.begin(), run.mean_loss.end());
      trials.push_back({light, threshold, worst, run.work, run.mean_depth});
      if (worst > risk) break;  // more rows go the light way, and err more, above
    }
  }
  return trials;
}

namespace {

bool saves(const RouteTrial& trial, double risk) { return trial.worst <= risk && trial.work < kWorthTrying; }

// Of trials, the one with least work of which a bound will stand below the risk; null: none.
const RouteTrial* best_of(std::span<const RouteTrial> trials, double risk) {
  const RouteTrial* best = nullptr;
  for (const RouteTrial& trial : trials) {
    if (saves(trial, kProposalRoom * risk) && (best == nullptr || trial.work < best->work)) best = &trial;
  }
  return best;
}

}  // namespace

RouteProposal propose_routes(std::span<const RouteTrial> trials, std::span<const double> risks, int32_t n_settings) {
  const RouteTrial* const best = best_of(trials, risks.front());
  if (best == nullptr) return {};
  const double most = *std::max_element(risks.begin(), risks.end());
  std::vector<RouteTrial> of_light;
  for (const RouteTrial& trial : trials) {
    if (trial.light == best->light && saves(trial, most)) of_light.push_back(trial);
  }
  const auto n = std::min(of_light.size(), size_t(std::max(1, n_settings)));
  std::vector<bool> wanted(of_light.size());
  for (const double risk : risks) {
    const RouteTrial* const boldest = best_of(of_light, risk);
    if (boldest == nullptr) continue;
    want_around(wanted, size_t(boldest - of_light.data()), n);
  }
  RouteProposal out{.settings = {}, .work = best->work};
  for (size_t i = 0; i < of_light.size(); ++i) {
    if (!wanted[i]) continue;
    const RouteTrial& trial = of_light[i];
    out.settings.push_back({.policy = Policy(route{.utility_below = trial.threshold, .light = trial.light}).text(),
                            .mechanism = "route",
                            .threshold = trial.threshold,
                            .predicted = trial.worst,
                            .forecast = trial.work,
                            .mean_depth = trial.mean_depth});
  }
  return out;
}

}  // namespace fathom
