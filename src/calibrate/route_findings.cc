// How good routers are, the best that any could do, and why they are left out, as the report's JSON.
#include "src/calibrate/route_findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fathom/engine/work.h"

namespace fathom {
namespace {

double least(const std::vector<double>& times) {
  return times.empty() ? 1 : std::min(1.0, *std::min_element(times.begin(), times.end()));
}

// Certified or not, what kept routes from being used: the number, and what it means.
std::pair<std::string, std::string> turned_down(const Findings& f, const Calibration& c) {
  if (c.passed < 0) {
    const CalibratedSetting& safest = c.settings.front();
    double worst = 0;
    for (const GroupBound& b : safest.bounds) worst = std::max(worst, b.upper);
    return {fmt::format("{}: the bound is {:.2f} %, above {:g} %", safest.policy, 100 * worst, 100 * f.options.risk),
            "no threshold keeps the promise on this much text"};
  }
  return {"certified, and " + comparison(c.speeds),
          "it is not surely faster than lossless decoding, which changes no token"};
}

// The same where they were not what was certified.
std::pair<std::string, std::string> left_out(const Findings& f) {
  const auto& trials = f.routing.trials;
  if (!f.routing.settings.empty()) {
    return {
        fmt::format("forecast to read {:.1f} % of full depth's bytes within the risk, and another mechanism {:.1f} %",
                    100 * f.forecasts.routes, 100 * std::min(f.forecasts.exits, f.forecasts.skips)),
        "what is certified is what is forecast to read least"};
  }
  const RouteTrial* best = nullptr;
  for (const RouteTrial& t : trials) {
    if (t.worst <= f.options.risk && (best == nullptr || t.work < best->work)) best = &t;
  }
  if (best == nullptr && !trials.empty()) {
    const auto safest = std::min_element(trials.begin(), trials.end(),
                                         [](const RouteTrial& a, const RouteTrial& b) { return a.worst < b.worst; });
    return {fmt::format("at the threshold {:g} the worst group lost {:.2f} %, above {:g} %", safest->threshold,
                        100 * safest->worst, 100 * f.options.risk),
            "no threshold keeps the risk: the state does not tell surely which rows have settled"};
  }
  return {fmt::format("within {:g} % at most {:.2f} % of the work was saved", 100 * f.options.risk,
                      best == nullptr ? 0 : 100 * (1 - best->work)),
          "too few rows are surely settled below the last layers"};
}

}  // namespace

Json route_signals(const Findings& f) {
  const WorkModel work(f.model.config());
  Json out = Json::array();
  for (const FittedRouter& router : f.routing.routers) {
    Json of = Json::array();
    double sum = 0, n = 0;
    for (const RouterQuality& q : f.judged.quality) {
      if (q.layer != router.layer || !std::isfinite(q.auc)) continue;
      of.push_back({{"name", f.groups[size_t(q.group)]}, {"auc", q.auc}});
      sum += q.auc, ++n;
    }
    if (n == 0) continue;
    out.push_back({{"name", "utility"},
                   {"layer", router.layer},
                   {"auc", sum / n},
                   {"work", 2.0 * f.model.config().d_model / work.full(0, true)},
                   {"groups", std::move(of)}});
  }
  return out;
}

Json route_ceiling(const Findings& f) {
  Json of = Json::array();
  for (size_t g = 0; g < f.judged.oracle_time.size(); ++g) {
    of.push_back({{"name", f.groups[g]}, {"work", std::clamp(f.judged.oracle_time[g], 0.0, 1.0)}});
  }
  return {{"what", "a router that knows"},
          {"groups", std::move(of)},
          {"note",
           "each token skips all layers above the first behind which the head already gives full depth's answer; time, "
           "as the bytes of layers and head say"}};
}

Json route_nogo(const Findings& f, const Calibration& c) {
  if (c.chosen >= 0 && c.settings[size_t(c.chosen)].mechanism == "route") return {};
  const bool certifying = c.settings.front().mechanism == "route";
  const auto [number, reason] = certifying ? turned_down(f, c) : left_out(f);
  return {
      {"mechanism", "routers"},
      {"ceiling",
       fmt::format("{:.0f} % of full depth's time, if every router knew", 100 * least(f.judged.oracle_time))},
      {"tried", fmt::format("routers behind layers {} to {}, {} runs; light: none, feed_forward, attention",
                            f.routing.routers.front().layer, f.routing.routers.back().layer, f.routing.trials.size())},
      {"decided_by", number},
      {"reason", reason}};
}

}  // namespace fathom
