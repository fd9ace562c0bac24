// A calibration's findings in the words of the sidecar and of the terminal. Next: calibrate_budget.cc.
#include "src/cli/calibrate_result.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>

namespace fathom::cli {
namespace {

ManifestBound bound_of(const GroupBound& bound, const Pieces& pieces) {
  return {pieces.groups[size_t(bound.group)].name, bound.n, bound.mean, std::min(1.0, bound.upper)};
}

std::vector<ManifestBound> bounds_of(const Choice& choice, const Pieces& pieces) {
  std::vector<ManifestBound> bounds;
  for (const GroupBound& bound : choice.passed) bounds.push_back(bound_of(bound, pieces));
  return bounds;
}

std::vector<ManifestOwn> own_of(const Calibration& found, const Pieces& pieces, size_t level) {
  std::vector<ManifestOwn> own;
  for (size_t g = 0; g < found.own.size(); ++g) {
    const CalibratedSetting* const setting = found.own_setting(int32_t(g), level);
    if (setting == nullptr) continue;
    own.push_back({setting->policy, bound_of(found.own[g].choices[level].passed.front(), pieces)});
  }
  return own;
}

ManifestCertificate certificate_of(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options) {
  ManifestCertificate certificate{.risk = options.risk,
                                  .confidence = options.confidence,
                                  .certified = true,
                                  .lossless = found.passed < 0,
                                  .groups = bounds_of(found.choices.front(), pieces),
                                  .own = own_of(found, pieces, 0)};
  for (size_t level = 1; level < found.choices.size(); ++level) {
    const Choice& choice = found.choices[level];
    certificate.levels.push_back(
        {.risk = choice.risk,
         .policy = choice.certified() ? found.settings[size_t(choice.candidate)].policy : std::string(),
         .groups = bounds_of(choice, pieces),
         .own = own_of(found, pieces, level)});
  }
  return certificate;
}

void tell_setting(const CalibratedSetting& s, const std::string& whose) {
  if (!s.run) {
    fmt::print(stderr, "{}{}: forecast {:.2f} %, mean depth {:.2f}: not run\n", whose, s.policy, 100 * s.predicted,
               s.mean_depth);
    return;
  }
  double worst = 0, mean = 0;
  for (const GroupBound& b : s.bounds) worst = std::max(worst, b.upper), mean = std::max(mean, b.mean);
  fmt::print(stderr, "{}{}: worst group {:.2f} %, bound {:.2f} %, mean depth {:.2f}, work {:.2f}: {}\n", whose,
             s.policy, 100 * mean, 100 * worst, s.mean_depth, s.work, s.certified ? "certified" : "not certified");
}

}  // namespace

Manifest manifest_of(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options,
                     const SidecarBinding& model) {
  const bool certified = found.passed >= 0;
  Manifest m{.library = FATHOM_VERSION,
             .policy = certified ? found.settings[size_t(found.passed)].policy : std::string(kLosslessPolicy),
             .model = model,
             .promise = certified ? promise_of(pieces, options) : "Every token is that of full depth.",
             .seed = options.seed};
  for (size_t g = 0; g < pieces.groups.size(); ++g) {
    ManifestGroup group{.name = pieces.groups[g].name};
    if (const CalibratedSetting* own = found.own_setting(int32_t(g))) {
      group.thresholds.push_back(own->threshold);
    } else if (certified && found.settings[size_t(found.passed)].mechanism == "exit") {
      group.thresholds.push_back(found.settings[size_t(found.passed)].threshold);
    }
    for (const FittedExit& exit : found.exits.exits) group.temperatures.push_back(exit.temperatures[g]);
    m.groups.push_back(std::move(group));
  }
  m.certificate = certificate_of(found, pieces, options);
  m.splits = fmt::format(R"({{"fit":"{}","choose":"{}","report":"{}"}})", pieces.fingerprints[0],
                         pieces.fingerprints[1], pieces.fingerprints[2]);
  return m;
}

Json measured_of(const Calibration& found, const Pieces& pieces) {
  const auto speeds_of = [](const std::vector<MeasuredSpeed>& all) {
    Json speeds = Json::array();
    for (const MeasuredSpeed& s : all) {
      speeds.push_back({{"policy", s.policy},
                        {"ms_per_token", s.ms_per_token},
                        {"over_full", s.over_full.ratio},
                        {"over_lossless", s.over_lossless.ratio}});
    }
    return speeds;
  };
  Json groups = Json::array();
  for (size_t g = 0; g < found.own.size(); ++g) {
    const CalibratedSetting* const own = found.own_setting(int32_t(g));
    if (own == nullptr || !found.own[g].pays) continue;
    groups.push_back(
        {{"name", pieces.groups[g].name}, {"policy", own->policy}, {"speeds", speeds_of(found.own[g].speeds)}});
  }
  return {{"policy", found.policy}, {"speeds", speeds_of(found.speeds)}, {"groups", std::move(groups)}};
}

void tell(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options) {
  fmt::print(stderr, "{}\npolicy: {}\n", found.promise, found.policy);
  for (const MeasuredSpeed& s : found.speeds) {
    fmt::print(stderr, "{:8.3f} ms a token, {:.2f} of full depth ({:.2f} to {:.2f}): {}\n", s.ms_per_token,
               s.over_full.ratio, s.over_full.low, s.over_full.high, s.policy);
  }
  for (const CalibratedSetting& s : found.settings) tell_setting(s, "");
  for (size_t g = 0; g < found.own.size(); ++g) {
    for (const CalibratedSetting& s : found.own[g].settings) {
      if (s.run) tell_setting(s, pieces.groups[g].name + ": ");
    }
  }
  const std::vector<double> risks = risks_of(options);
  for (size_t level = 1; level < risks.size(); ++level) {
    const int32_t passed = found.choices[level].candidate;
    fmt::print(stderr, "at risk {:g} %: {}\n", 100 * risks[level],
               passed >= 0 ? found.settings[size_t(passed)].policy : "nothing is certified");
  }
  for (size_t g = 0; g < pieces.groups.size(); ++g) {
    const PieceGroup& group = pieces.groups[g];
    const int64_t missing = group.n_missing[0] + group.n_missing[1] + group.n_missing[2];
    if (missing > 0)
      spdlog::warn("group {}: {} pieces of those asked for are missing: give more text", group.name, missing);
  }
}

}  // namespace fathom::cli
