// KV translators in numbers and words.
#include "src/calibrate/fill_findings.h"

#include <fmt/format.h>

#include <algorithm>

namespace fathom {
namespace {

// Of a row that leaves at an exit, mean over exits.
double bytes_of(const FillFit& fitted) {
  double bytes = 0;
  for (const auto& fills : fitted.fills) bytes += fill_bytes(fills) / double(fitted.fills.size());
  return bytes;
}

}  // namespace

Json fill_report(const Findings& f) {
  const FillRecord& r = f.fills;
  Json layers = Json::array();
  for (const FillQuality& q : r.fitted.quality) {
    layers.push_back({{"exit", q.exit}, {"layer", q.layer}, {"plain", q.plain}, {"translated", q.translated}});
  }
  const auto run = [](const FillRun& of) { return Json{{"disagreement", of.loss}, {"work", of.work}}; };
  return {{"policy", r.policy},
          {"kept", r.kept},
          {"bytes", bytes_of(r.fitted)},
          {"exact_cells", r.exact},
          {"plain", run(r.plain)},
          {"translated", run(r.translated)},
          {"gain", {{"mean", r.gain.mean}, {"error", r.gain.error}, {"units", r.gain.units}}},
          {"layers", std::move(layers)}};
}

Json fill_nogo(const Findings& f) {
  const FillRecord& r = f.fills;
  if (r.kept || r.fitted.quality.empty()) return {};
  double plain = 0, translated = 0;
  for (const FillQuality& q : r.fitted.quality) {
    plain = std::max(plain, q.plain);
    translated = std::max(translated, q.translated);
  }
  const std::string tried = fmt::format(
      "{} translators; what layers read of tokens that left is off by at most {:.1f} %, and {:.1f} % "
      "without them",
      r.fitted.quality.size(), 100 * translated, 100 * plain);
  if (r.policy.empty()) {
    return {{"mechanism", "KV translators"},
            {"tried", tried},
            {"decided_by", "none of them is nearer than the state that a token left with"},
            {"reason", "layers above exits read what tokens left with, or nothing that a map of low rank says"}};
  }
  return {{"mechanism", "KV translators"},
          {"ceiling", fmt::format("{:.2f} % of {} would differ if every cell were full depth's, and {:.2f} % do "
                                  "with cells filled from the state that a token left with",
                                  100 * r.exact, Loss(f.options.temperature).of_what(), 100 * r.plain.loss)},
          {"tried", fmt::format("{}: {}", r.policy, tried)},
          {"decided_by", fmt::format("with them {:.3f} points less differ, within {:.3f} of noise, on {} "
                                     "documents or pieces",
                                     100 * r.gain.mean, 200 * r.gain.error, r.gain.units)},
          {"reason", "cells nearer to those of full depth do not surely change fewer answers"}};
}

}  // namespace fathom
