// ExitHeads: checks what was fitted against a model, and packs its translators.
#include "fathom/head/exit_heads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/ref/half.h"

namespace fathom {
namespace {

Error wrong(const FittedExit& exit, const std::string& what) {
  return {ErrorCode::argument, fmt::format("fitted exit of layer {}: {}: calibrate again", exit.layer, what)};
}

Result<void> check(const FittedExit& exit, const FittedExits& all, const ModelConfig& config, int32_t before) {
  const auto d = static_cast<size_t>(config.d_model), n = all.groups.size() + 1;
  if (exit.layer <= before || exit.layer >= config.n_layers) {
    return wrong(exit, fmt::format("layers rise from 1 to {}", config.n_layers - 1));
  }
  if (exit.translator.size() != (exit.bias.empty() ? 0 : d * d) || (!exit.bias.empty() && exit.bias.size() != d)) {
    return wrong(exit, fmt::format("a translator of {} and a bias of {} numbers for states of {}",
                                   exit.translator.size(), exit.bias.size(), d));
  }
  if (exit.temperatures.size() != n || exit.agreement.size() != n) {
    return wrong(exit, fmt::format("{} temperatures and {} maps for {} groups and all together",
                                   exit.temperatures.size(), exit.agreement.size(), n - 1));
  }
  if (!exit.probe.state.empty() && exit.probe.state.size() != d) {
    return wrong(exit, fmt::format("a probe of {} numbers for states of {}", exit.probe.state.size(), d));
  }
  const auto finite = [](float v) { return std::isfinite(v); };
  const AgreementProbe& p = exit.probe;
  if (!std::all_of(p.state.begin(), p.state.end(), finite) || !finite(p.confidence + p.margin + p.entropy + p.offset)) {
    return wrong(exit, "a number of its probe is not finite");
  }
  if (!std::all_of(exit.translator.begin(), exit.translator.end(), finite) ||
      !std::all_of(exit.bias.begin(), exit.bias.end(), finite)) {
    return wrong(exit, "a number of its translator is not finite");
  }
  for (const float t : exit.temperatures) {
    if (!(t > 0) || !std::isfinite(t)) return wrong(exit, fmt::format("temperature {}", t));
  }
  return {};
}

std::vector<uint16_t> rounded(const std::vector<float>& values) {
  std::vector<uint16_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), [](float v) { return kernels::float_to_bfloat16(v); });
  return bits;
}

}  // namespace

float confidence_score(const LogitStats& stats) noexcept {
  constexpr float kSure = 16;  // 1 - p is then the rounding of p
  const float log_p = std::min(stats.max - stats.log_sum, 0.0f);
  const float rest = -std::expm1(log_p);
  return rest > 0 ? std::min(log_p - std::log(rest), kSure) : kSure;
}

float AgreementProbe::operator()(const LogitStats& stats, std::span<const float> values) const noexcept {
  float score =
      offset + confidence * confidence_score(stats) + margin * (stats.max - stats.second) + entropy * stats.entropy;
  if (state.empty()) return score;
  float square = 0, dot = 0;
  for (size_t i = 0; i < state.size(); ++i) {
    square += values[i] * values[i];
    dot += values[i] * state[i];
  }
  return score + dot / std::sqrt(square / static_cast<float>(state.size()) + 1e-12f);
}

Result<std::shared_ptr<const ExitHeads>> ExitHeads::make(const Model& model, FittedExits fitted) {
  const ModelConfig& config = model.config();
  int32_t before = 0;
  for (const LayerSpec& spec : config.layers) {
    if (spec.feed_forward >= config.d_model) continue;
    return Error{ErrorCode::unsupported, fmt::format("fitted exits with a feed-forward half of {} below states of {}: "
                                                     "run this model without them",
                                                     spec.feed_forward, config.d_model)};
  }
  for (const FittedExit& exit : fitted.exits) {
    FATHOM_TRY(check(exit, fitted, config, before));
    before = exit.layer;
  }
  for (const int32_t token : fitted.shortlist) {
    if (token >= 0 && token < config.vocab) continue;
    return Error{ErrorCode::argument, fmt::format("shortlist of exit checks: token {} is outside the vocabulary 0..{}: "
                                                  "calibrate again",
                                                  token, config.vocab - 1)};
  }
  auto heads = std::make_shared<ExitHeads>();
  heads->d_model_ = config.d_model;
  heads->groups_ = std::move(fitted.groups);
  heads->shortlist_ = std::move(fitted.shortlist);
  std::vector<std::vector<uint16_t>> rows;
  size_t bytes = 0;
  for (FittedExit& exit : fitted.exits) {
    Exit made{.layer = exit.layer,
              .translator = {},
              .bias = std::move(exit.bias),
              .temperatures = std::move(exit.temperatures),
              .probe = std::move(exit.probe),
              .agreement = std::move(exit.agreement)};
    rows.push_back(rounded(exit.translator));
    if (!rows.back().empty()) {
      const Tensor tensor{.name = fmt::format("exit.{}", exit.layer),
                          .type = DType::bf16,
                          .rows = config.d_model,
                          .cols = config.d_model,
                          .data = reinterpret_cast<const std::byte*>(rows.back().data())};
      FATHOM_TRY(made.translator, plan_linear(tensor, model.tables(), model.numerics()));
      bytes += (made.translator.packed_bytes + 63) / 64 * 64;
    }
    heads->exits_.push_back(std::move(made));
  }
  heads->packed_ = Buffer(std::max<size_t>(bytes, 64));
  if (heads->packed_.data() == nullptr) {
    return Error{ErrorCode::capacity, fmt::format("{} bytes for translators of exits: the system refused", bytes)};
  }
  FATHOM_TRY(ThreadPool pool, ThreadPool::make(1));
  heads->by_layer_.assign(static_cast<size_t>(config.n_layers), nullptr);
  std::byte* at = heads->packed_.data();
  for (size_t i = 0; i < rows.size(); ++i) {
    Exit& exit = heads->exits_[i];
    heads->by_layer_[static_cast<size_t>(exit.layer)] = &exit;
    if (rows[i].empty()) continue;
    const Tensor tensor{.name = "exit",
                        .type = DType::bf16,
                        .rows = config.d_model,
                        .cols = config.d_model,
                        .data = reinterpret_cast<const std::byte*>(rows[i].data())};
    pack_linear(exit.translator, tensor, at, pool);
    exit.translator.bias = exit.bias.data();
    at += (exit.translator.packed_bytes + 63) / 64 * 64;
  }
  return std::shared_ptr<const ExitHeads>(std::move(heads));
}

int32_t ExitHeads::group(std::string_view name) const noexcept {
  if (name.empty()) return static_cast<int32_t>(groups_.size());
  const auto found = std::find(groups_.begin(), groups_.end(), name);
  return found == groups_.end() ? -1 : static_cast<int32_t>(found - groups_.begin());
}

}  // namespace fathom
