// Routers from fit to proposal: every step in its order.
#include "src/calibrate/routing.h"

#include <algorithm>

#include "fathom/engine/work.h"
#include "src/calibrate/held_out.h"
#include "src/calibrate/settings.h"

namespace fathom {
namespace {

// Share of full depth's multiply-adds that layers take: what saving them is worth in bytes hangs on it.
double layers_share(const ModelConfig& config) {
  const WorkModel work(config);
  return 1 - work.head() / work.full(0, true);
}

Result<void> use(Session& session, const std::vector<FittedRouter>& routers) {
  FATHOM_TRY(std::shared_ptr<const Routers> ready, Routers::make(session.model(), routers));
  return session.use_routers(std::move(ready));
}

Result<RoutingRecord> fit_anew(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                               const CalibrateOptions& options, Progress& progress) {
  const ModelConfig& config = runner.session().model().config();
  const std::vector<int32_t> layers = router_layers(config.n_layers);
  RoutingRecord out;
  progress.begin("asking which layers rows need", 0.04);
  FATHOM_TRY(const RouterRows rows,
             router_rows(runner, texts, n_groups, layers, most_router_rows(config, layers.size()), progress));
  progress.begin("fitting routers", 0.02);
  FATHOM_TRY(out.routers, fit_routers(rows, texts, n_groups, progress));
  FATHOM_TRY(use(runner.session(), out.routers));
  const std::vector<const PieceText*> tried = route_trial_texts(split_for_fit(texts, n_groups).held_out, n_groups);
  const std::vector<double> risks = risks_of(options);
  progress.begin("trying routes", 0.005);
  FATHOM_TRY(const auto truth, true_tokens(runner, tried, progress));
  FATHOM_TRY(out.trials,
             try_routes(runner, tried, truth, n_groups, *std::max_element(risks.begin(), risks.end()), progress));
  return out;
}

}  // namespace

Result<RoutingRecord> fit_routing(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                                  const CalibrateOptions& options, const RowCost& cost, Progress& progress) {
  const ModelConfig& config = runner.session().model().config();
  FATHOM_TRY(RoutingRecord out, runner.journal().part<RoutingRecord>(
                                    "routers", [&] { return fit_anew(runner, texts, n_groups, options, progress); },
                                    [&](const RoutingRecord& kept) {
                                      return kept.routers.size() == router_layers(config.n_layers).size() &&
                                             !kept.trials.empty();
                                    }));
  FATHOM_TRY(use(runner.session(), out.routers));
  RouteProposal proposal = propose_routes(out.trials, risks_of(options), options.n_settings);
  out.settings = std::move(proposal.settings);
  const double bytes = cost.layers / layers_share(config);  // for each share of the work
  for (CalibratedSetting& s : out.settings) s.forecast = 1 - (1 - s.forecast) * bytes;
  out.forecast = 1 - (1 - proposal.work) * bytes;
  return out;
}

namespace {

// [groups] as RouterJudgement::oracle_time.
std::vector<double> times_that_know(const RouterRows& rows, size_t n_groups, const RowCost& cost) {
  MeanTime time(n_groups, cost);
  for (size_t r = 0; r < rows.size(); ++r) {
    double depth = cost.n_layers;
    for (size_t l = rows.layers.size(); l-- > 0;) {
      if (rows.spare[l][r] != 0) depth = rows.layers[l];
    }
    time.add(rows.groups[r], depth);
  }
  return time.of_groups();
}

}  // namespace

Result<RouterJudgement> judge_routers(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                                      std::span<const FittedRouter> routers, const RowCost& cost, Progress& progress) {
  const ModelConfig& config = runner.session().model().config();
  const std::vector<int32_t> layers = router_layers(config.n_layers);
  const auto anew = [&]() -> Result<RouterJudgement> {
    const int64_t most = most_router_rows(config, layers.size()) / 2;
    FATHOM_TRY(const RouterRows rows, router_rows(runner, texts, n_groups, layers, most, progress));
    RouterJudgement out;
    FATHOM_TRY(out.quality, router_quality(routers, rows, n_groups));
    out.oracle_time = times_that_know(rows, n_groups, cost);
    return out;
  };
  return runner.journal().part<RouterJudgement>("routers on the report's text", anew, [&](const RouterJudgement& kept) {
    return kept.quality.size() == routers.size() * n_groups && kept.oracle_time.size() == n_groups;
  });
}

}  // namespace fathom
