// Routers: the score, and what is checked before a model runs with it.
#include "fathom/head/routers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace fathom {
namespace {

constexpr size_t kLanes = 8;  // sums side by side, which a vector unit adds in one go

Error wrong(const FittedRouter& router, ErrorCode code, const std::string& what) {
  return {code, fmt::format("router behind layer {}: {}: calibrate again", router.layer, what)};
}

Result<void> check(const FittedRouter& router, const ModelConfig& config, int32_t before) {
  if (router.layer <= before || router.layer >= config.n_layers) {
    return wrong(router, ErrorCode::argument, fmt::format("layers rise from 1 to {}", config.n_layers - 1));
  }
  if (router.weights.size() != static_cast<size_t>(config.d_model)) {
    return wrong(router, ErrorCode::shape,
                 fmt::format("{} weights for states of {}", router.weights.size(), config.d_model));
  }
  const bool finite =
      std::all_of(router.weights.begin(), router.weights.end(), [](float w) { return std::isfinite(w); });
  if (!finite || !std::isfinite(router.bias)) return wrong(router, ErrorCode::argument, "a weight is not finite");
  return {};
}

}  // namespace

float FittedRouter::score(std::span<const float> state) const noexcept {
  std::array<float, kLanes> square{}, dot{};
  const size_t n = std::min(weights.size(), state.size());
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = state[i + lane];
      square[lane] += x * x;
      dot[lane] += x * weights[i + lane];
    }
  }
  for (; i < n; ++i) square[0] += state[i] * state[i], dot[0] += state[i] * weights[i];
  float squares = 0, dots = 0;
  for (size_t lane = 0; lane < kLanes; ++lane) squares += square[lane], dots += dot[lane];
  return bias + dots / std::sqrt(squares / static_cast<float>(std::max<size_t>(n, 1)) + 1e-12f);
}

Result<std::shared_ptr<const Routers>> Routers::make(const Model& model, std::vector<FittedRouter> fitted) {
  const ModelConfig& config = model.config();
  if (fitted.empty()) return Error{ErrorCode::argument, "routers: none were fitted: calibrate the model"};
  auto routers = std::make_shared<Routers>();
  routers->d_model_ = config.d_model;
  routers->by_layer_.assign(static_cast<size_t>(config.n_layers), -1);
  int32_t before = 0;
  for (size_t i = 0; i < fitted.size(); ++i) {
    FATHOM_TRY(check(fitted[i], config, before));
    before = fitted[i].layer;
    routers->by_layer_[static_cast<size_t>(before)] = static_cast<int32_t>(i);
  }
  routers->fitted_ = std::move(fitted);
  return std::shared_ptr<const Routers>(std::move(routers));
}

}  // namespace fathom
