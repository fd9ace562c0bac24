// Profiles and skips in numbers and words.
#include "src/calibrate/skip_findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fathom/calibrate/limits.h"

namespace fathom {
namespace {

constexpr int32_t kStretch = 16;                         // places of one column, at least
constexpr int32_t kLeads[] = {0, 16, 64, 256, 1 << 20};  // bounds of prompt lengths, tokens

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(); }

// [parts, layers]
Json matrix(const LayerProfile& profile, const PlaceFilter& filter) {
  Json rows = Json::array();
  for (const auto& part : profile.parts) {
    Json row = Json::array();
    for (const Ablation& ablation : part) {
      const Ablation* const one[] = {&ablation};
      row.push_back(number_or_null(changed_share(profile, one, filter)));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

Json layer_utility(const Findings& f) {
  const LayerProfile& profile = f.profile;
  Json out = {{"parts", kProfiledPartNames},
              {"groups", Json::array()},
              {"positions", Json::array()},
              {"prompts", Json::array()}};
  for (size_t g = 0; g < f.groups.size(); ++g) {
    out["groups"].push_back(
        {{"name", f.groups[g]}, {"disagreement", matrix(profile, {.group = static_cast<int32_t>(g)})}});
  }
  int32_t longest = 0;
  bool prompts = false;
  for (const PieceText* text : profile.texts) {
    longest = std::max(longest, text->places());
    prompts |= text->lead.size() > 1;
  }
  const int32_t stretch = std::max(kStretch, (longest + kMostStretches - 1) / kMostStretches);
  for (int32_t from = 0; from < longest; from += stretch) {
    out["positions"].push_back({{"from", from},
                                {"to", std::min(from + stretch, longest) - 1},
                                {"disagreement", matrix(profile, {.from = from, .to = from + stretch})}});
  }
  for (size_t i = 1; prompts && i < std::size(kLeads); ++i) {
    const PlaceFilter filter{.lead_from = kLeads[i - 1] + 1, .lead_to = kLeads[i] + 1};
    const bool any = std::any_of(profile.texts.begin(), profile.texts.end(), [&](const PieceText* text) {
      const auto lead = static_cast<int32_t>(text->lead.size());
      return lead >= filter.lead_from && lead < filter.lead_to;
    });
    if (!any) continue;
    out["prompts"].push_back(
        {{"from", filter.lead_from}, {"to", filter.lead_to - 1}, {"disagreement", matrix(profile, filter)}});
  }
  return out;
}

Json head_utility(const Findings& f) {
  Json out = Json::array();
  for (const auto& layer : f.profile.heads) {
    Json row = Json::array();
    for (const Ablation& head : layer) {
      const Ablation* const one[] = {&head};
      row.push_back(number_or_null(changed_share(f.profile, one)));
    }
    out.push_back(std::move(row));
  }
  return out;
}

Json skip_ceiling(const Findings& f) {
  Json of = Json::array();
  for (size_t g = 0; g < f.groups.size(); ++g) {
    of.push_back({{"name", f.groups[g]}, {"work", std::clamp(f.oracle_skip[g], 0.0, 1.0)}});
  }
  return {{"what", "a skip that knows"},
          {"groups", std::move(of)},
          {"note", fmt::format("each token leaves out the largest set of parts without which its answer {}: one "
                               "layer, one half of a layer, or one of {} larger sets; time, as bytes say",
                               Loss(f.options.temperature).harmless(f.options.risk), f.skips.sets.size())}};
}

Json skip_nogo(const Findings& f, const Calibration& c) {
  if (c.chosen >= 0 && c.settings[size_t(c.chosen)].mechanism == "skip") return {};
  const double most = *std::min_element(f.oracle_skip.begin(), f.oracle_skip.end());
  const bool certifying = c.settings.front().mechanism == "skip";
  const double saved = f.skips.sets.empty() ? 0 : f.skips.sets.back().saved;
  std::string decided, reason;
  if (f.skips.sets.empty()) {
    decided =
        fmt::format("{} changes {:.2f} % of {}, the least of all parts; allowed are {:g} %", f.skips.cheapest_policy,
                    100 * f.skips.cheapest, Loss(f.options.temperature).of_what(), 100 * f.options.risk);
    reason = "no layer, no half of one and no head can be left out within the risk";
  } else if (!certifying) {
    decided = fmt::format("the largest set within the risk leaves {:.2f} % of the bytes unread", 100 * saved);
    reason = "that is too little, or another mechanism is forecast to read less";
  } else if (c.passed < 0) {
    double worst = 0;
    for (const GroupBound& b : c.settings.front().bounds) worst = std::max(worst, b.upper);
    decided = fmt::format("{}: the bound is {:.2f} %, above {:g} %", c.settings.front().policy, 100 * worst,
                          100 * f.options.risk);
    reason = "no set keeps the promise on this much text";
  } else {
    decided = "certified, and " + comparison(c.speeds);
    reason = "it is not surely faster than lossless decoding, which changes no token";
  }
  return {
      {"mechanism", "leaving out layers and heads"},
      {"ceiling", fmt::format("{:.0f} % of full depth's time, if every harmless set were known and free", 100 * most)},
      {"tried", fmt::format("{} sets, the largest without {:.1f} % of the bytes", f.skips.sets.size(), 100 * saved)},
      {"decided_by", decided},
      {"reason", reason}};
}

}  // namespace fathom
