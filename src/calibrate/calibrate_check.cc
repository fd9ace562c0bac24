// Options, groups and the model's shape against the limits that readers of a sidecar have. Next: promise.cc.
#include "src/calibrate/calibrate_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "fathom/calibrate/limits.h"
#include "src/calibrate/loss.h"

namespace fathom {
namespace {

Error wrong(std::string what) { return {ErrorCode::argument, std::move(what)}; }

Result<void> check_risks(const CalibrateOptions& options) {
  const std::vector<double> risks = risks_of(options);
  if (risks.size() > kMostLevels) {
    return wrong(fmt::format("{} levels of risk: give at most {}", risks.size(), kMostLevels));
  }
  for (size_t i = 0; i < risks.size(); ++i) {
    const double risk = risks[i];
    if (!(risk > 0 && risk < 1)) return wrong(fmt::format("risk {}: write a share above 0 and below 1", risk));
    const auto end = risks.begin() + std::ptrdiff_t(i);
    if (std::find(risks.begin(), end, risk) != end) return wrong(fmt::format("risk {}: twice: give it once", risk));
  }
  return {};
}

}  // namespace

Result<void> check(const Pieces& pieces, const CalibrateOptions& options, const ModelConfig& config) {
  FATHOM_TRY(check_risks(options));
  if (!(options.confidence > 0 && options.confidence < 1)) {
    return wrong(fmt::format("confidence {}: write a share above 0 and below 1", options.confidence));
  }
  FATHOM_TRY(Loss(options.temperature).check());
  if (options.n_exits < 1 || options.n_exits > kMostFittedExits) {
    return wrong(fmt::format("n_exits {}: 1 to {}", options.n_exits, kMostFittedExits));
  }
  if (options.n_settings < 1 || options.n_settings > kMostSettings) {
    return wrong(fmt::format("n_settings {}: 1 to {}", options.n_settings, kMostSettings));
  }
  if (options.measured_tokens < 8) return wrong(fmt::format("measured_tokens {}: at least 8", options.measured_tokens));
  if (config.encodes()) {
    return wrong(fmt::format("family {} encodes texts: give a model that predicts tokens", config.family));
  }
  if (config.n_layers < 2) return wrong("a model of one layer has no exit: run it as it is");
  if (config.n_layers > kMostLayersSeen) {
    return wrong(fmt::format("a model of {} layers: at most {}: run it as it is", config.n_layers, kMostLayersSeen));
  }
  for (const LayerSpec& layer : config.layers) {
    if (layer.heads <= kMostHeadsSeen) continue;
    return wrong(fmt::format("a layer of {} heads: at most {}: run the model as it is", layer.heads, kMostHeadsSeen));
  }
  if (pieces.groups.empty()) return wrong("no group of texts: give at least one");
  if (pieces.groups.size() > kMostGroups) {
    return wrong(fmt::format("{} groups of texts: give at most {}", pieces.groups.size(), kMostGroups));
  }
  for (const PieceGroup& group : pieces.groups) FATHOM_TRY(check_group_name(group.name));
  return {};
}

}  // namespace fathom
