// A calibration's findings in the words of the sidecar and of the terminal. Next: calibrate_budget.cc.
#include "src/cli/calibrate_result.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "src/cli/calibrate_options.h"
#include "src/cli/depth_picture.h"

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

// Whether no policy of the sidecar can change a token.
bool is_lossless(const Calibration& found) {
  for (size_t level = 0; level < found.choices.size(); ++level) {
    if (found.choices[level].certified()) return false;
    for (size_t g = 0; g < found.own.size(); ++g) {
      if (found.own_setting(int32_t(g), level) != nullptr) return false;
    }
  }
  return true;
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
                                  .piece_tokens = pieces.piece_tokens,
                                  .temperature = options.temperature,
                                  .certified = true,  // what loses nothing keeps every promise
                                  .lossless = is_lossless(found),
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

// Of the policy for all; where that changes no token, of those that are used only when they are asked for.
std::string promise_text(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options) {
  if (found.passed >= 0) return promise_of(pieces, options);
  std::string text = "Every token is that of full depth.";
  std::vector<std::string> groups;
  for (size_t g = 0; g < found.own.size(); ++g) {
    if (found.own_setting(int32_t(g)) != nullptr) groups.push_back(pieces.groups[g].name);
  }
  if (!groups.empty()) text += " " + own_promise_of(groups, options);
  for (size_t level = 1; level < found.choices.size(); ++level) {
    if (!found.choices[level].certified()) continue;
    const double risk = found.choices[level].risk;
    text += fmt::format(" With --risk-level {}, at most {:.12g} % of tokens differ.", risk, 100 * risk);
  }
  return text;
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

void tell_left_out(const GroupText& text, const PieceGroup& group) {
  const std::pair<int64_t, const char*> kinds[] = {{group.n_duplicates, "documents said before"},
                                                   {group.n_in_other_groups, "documents of another group"},
                                                   {group.n_short, "documents too short for a piece"},
                                                   {group.n_long_prompts, "prompts too long"},
                                                   {text.n_unanswered, "prompts that the model does not answer"}};
  std::string said;
  for (const auto& [n, what] : kinds) {
    if (n > 0) said += fmt::format("{}{} {}", said.empty() ? "" : ", ", n, what);
  }
  if (!said.empty()) fmt::print(stderr, "{}: left out: {}\n", harmless(group.name), said);
}

}  // namespace

Manifest manifest_of(const Calibration& found, const Pieces& pieces, const CalibrateOptions& options,
                     const SidecarBinding& model) {
  const bool certified = found.passed >= 0;
  Manifest m{.library = FATHOM_VERSION,
             .policy = certified ? found.settings[size_t(found.passed)].policy : std::string(kLosslessPolicy),
             .model = model,
             .promise = promise_text(found, pieces, options),
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
  fmt::print(stderr, "{}\npolicy: {}\n", harmless(found.promise), found.policy);
  for (const MeasuredSpeed& s : found.speeds) {
    fmt::print(stderr, "{:8.3f} ms a token, {:.2f} of full depth ({:.2f} to {:.2f}): {}\n", s.ms_per_token,
               s.over_full.ratio, s.over_full.low, s.over_full.high, s.policy);
  }
  for (const CalibratedSetting& s : found.settings) tell_setting(s, "");
  for (size_t g = 0; g < found.own.size(); ++g) {
    for (const CalibratedSetting& s : found.own[g].settings) {
      if (s.run) tell_setting(s, harmless(pieces.groups[g].name) + ": ");
    }
  }
  const std::vector<double> risks = risks_of(options);
  for (size_t level = 1; level < risks.size(); ++level) {
    const int32_t passed = found.choices[level].candidate;
    fmt::print(stderr, "at risk {:.12g} %: {}\n", 100 * risks[level],
               passed >= 0 ? found.settings[size_t(passed)].policy : "nothing is certified");
  }
  for (size_t g = 0; g < pieces.groups.size(); ++g) tell_left_out(found.texts[g], pieces.groups[g]);
}

void warn_of_missing(const Calibration& found, const Pieces& pieces) {
  warn_of_empty(pieces);
  for (size_t g = 0; g < pieces.groups.size(); ++g) {
    const PieceGroup& group = pieces.groups[g];
    const std::string name = harmless(group.name);
    const auto& n = found.texts[g].n_pieces;
    if (!found.texts[g].suffices()) {
      spdlog::warn(
          "group {}: {} pieces to fit, {} to choose and {} to report on: give more text, for at least {}: "
          "until then nothing but lossless decoding can be had",
          name, n[0], n[1], n[2], fmt::join(kFewestPieces, ", "));
    }
    const int64_t missing = group.n_missing[0] + group.n_missing[1] + group.n_missing[2];
    if (missing > 0) spdlog::warn("group {}: {} pieces of those asked for are missing: give more text", name, missing);
  }
  for (const Choice& choice : found.choices) {
    for (const GroupBound& bound : choice.refused) {
      if (choice.certified() || bound.missing() == 0) continue;
      const PieceGroup& group = pieces.groups[size_t(bound.group)];
      spdlog::warn(
          "group {}: a risk of {:.12g} % needs {} {} more at least than the {} that there are to choose on: "
          "give more text, or a larger --risk",
          harmless(group.name), 100 * choice.risk, bound.missing(), group.spaced ? "pieces" : "documents", bound.n);
    }
  }
}

}  // namespace fathom::cli
