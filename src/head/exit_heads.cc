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

size_t narrowest_feed_forward(const ModelConfig& config) {
  int32_t narrowest = config.layers.front().feed_forward;
  for (const LayerSpec& spec : config.layers) narrowest = std::min(narrowest, spec.feed_forward);
  return static_cast<size_t>(narrowest);
}

// Sizes: full rank, low rank, or a hidden layer beside full rank. What lies between fits the step's buffers.
Result<void> check_translator(const FittedExit& exit, const ModelConfig& config) {
  const auto d = static_cast<size_t>(config.d_model);
  const size_t narrowest = std::min(d, narrowest_feed_forward(config));
  const size_t r = exit.up.size() / d, h = exit.hidden.offset.size();
  const bool fits = exit.bias.empty() ? exit.translator.empty() : exit.bias.size() == d;
  if (!fits ||
      exit.translator.size() != (exit.bias.empty() ? 0
                                 : r > 0           ? r * d
                                                   : d * d) ||
      exit.up.size() != r * d || r > narrowest || (r > 0 && exit.bias.empty())) {
    return wrong(exit, fmt::format("a translator of {} and {} and a bias of {} numbers for states of {}",
                                   exit.translator.size(), exit.up.size(), exit.bias.size(), d));
  }
  if (exit.hidden.first.size() != h * d || exit.hidden.second.size() != h * d || h > narrowest ||
      (h > 0 && (r > 0 || exit.bias.empty()))) {
    return wrong(exit, fmt::format("a hidden layer of {}, {} and {} numbers for states of {}; it stands beside a "
                                   "translator of full rank",
                                   exit.hidden.first.size(), h, exit.hidden.second.size(), d));
  }
  return {};
}

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

// A state and what it is cut down to stand side by side in the step's buffers.
Result<void> check_fills(const FittedExit& exit, const ModelConfig& config) {
  const auto d = static_cast<size_t>(config.d_model);
  const size_t room = narrowest_feed_forward(config);
  int32_t before = exit.layer + 1;
  for (const FittedFill& fill : exit.fills) {
    if (fill.layer <= before || fill.layer > config.n_layers) {
      return wrong(exit, fmt::format("a KV translator of layer {}: layers rise from {} to {}", fill.layer,
                                     exit.layer + 2, config.n_layers));
    }
    before = fill.layer;
    const size_t r = fill.up.size() / d;
    if (r == 0 || fill.up.size() != r * d || fill.down.size() != r * d || fill.bias.size() != d || r + d > room) {
      return wrong(exit, fmt::format("a KV translator of {} and {} and a bias of {} numbers for states of {}; its rank "
                                     "is 1 to {}",
                                     fill.down.size(), fill.up.size(), fill.bias.size(), d, room - d));
    }
    for (const std::vector<float>* part : {&fill.down, &fill.up, &fill.bias}) {
      if (!all_finite(*part)) {
        return wrong(exit, fmt::format("a number of its KV translator of layer {} is not finite", fill.layer));
      }
    }
  }
  return {};
}

Result<void> check(const FittedExit& exit, const FittedExits& all, const ModelConfig& config, int32_t before) {
  const auto d = static_cast<size_t>(config.d_model), n = all.groups.size() + 1;
  if (exit.layer <= before || exit.layer >= config.n_layers) {
    return wrong(exit, fmt::format("layers rise from 1 to {}", config.n_layers - 1));
  }
  FATHOM_TRY(check_translator(exit, config));
  FATHOM_TRY(check_fills(exit, config));
  if (exit.temperatures.size() != n || exit.agreement.size() != n) {
    return wrong(exit, fmt::format("{} temperatures and {} maps for {} groups and all together",
                                   exit.temperatures.size(), exit.agreement.size(), n - 1));
  }
  if (!exit.probe.state.empty() && exit.probe.state.size() != d) {
    return wrong(exit, fmt::format("a probe of {} numbers for states of {}", exit.probe.state.size(), d));
  }
  const AgreementProbe& p = exit.probe;
  if (!all_finite(p.state) || !std::isfinite(p.confidence + p.margin + p.entropy + p.offset)) {
    return wrong(exit, "a number of its probe is not finite");
  }
  for (const std::vector<float>* part :
       {&exit.translator, &exit.up, &exit.bias, &exit.hidden.first, &exit.hidden.offset, &exit.hidden.second}) {
    if (!all_finite(*part)) return wrong(exit, "a number of its translator is not finite");
  }
  for (const float t : exit.temperatures) {
    if (!(t > 0) || !std::isfinite(t)) return wrong(exit, fmt::format("temperature {}", t));
  }
  return {};
}

// Matrices rounded to BF16 and packed side by side.
class Packer {
 public:
  explicit Packer(const Model& model) : model_(model) {}

  /// Nothing where there are no values. `linear` stays where it is until pack().
  Result<void> plan(Linear& linear, const std::vector<float>& values, int64_t cols) {
    if (values.empty()) return {};
    Part part{.linear = &linear, .bits = std::vector<uint16_t>(values.size()), .cols = cols};
    std::transform(values.begin(), values.end(), part.bits.begin(),
                   [](float v) { return kernels::float_to_bfloat16(v); });
    FATHOM_TRY(linear, plan_linear(part.tensor(), model_.tables(), model_.numerics()));
    bytes_ += padded(linear.packed_bytes);
    parts_.push_back(std::move(part));
    return {};
  }
  Result<Buffer> pack() {
    Buffer packed(std::max<size_t>(bytes_, 64));
    if (packed.data() == nullptr) {
      return Error{ErrorCode::capacity, fmt::format("{} bytes for translators of exits: the system refused", bytes_)};
    }
    FATHOM_TRY(ThreadPool pool, ThreadPool::make(1));
    std::byte* at = packed.data();
    for (const Part& part : parts_) {
      pack_linear(*part.linear, part.tensor(), at, pool);
      at += padded(part.linear->packed_bytes);
    }
    return packed;
  }

 private:
  struct Part {
    Linear* linear;
    std::vector<uint16_t> bits;
    int64_t cols;
    Tensor tensor() const {
      return {.name = "exit",
              .type = DType::bf16,
              .rows = std::ssize(bits) / cols,
              .cols = cols,
              .data = reinterpret_cast<const std::byte*>(bits.data())};
    }
  };
  static size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64; }

  const Model& model_;
  std::vector<Part> parts_;
  size_t bytes_ = 0;
};

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
  heads->exits_.reserve(fitted.exits.size());
  Packer packer(model);
  const int64_t d = config.d_model;
  size_t widest = static_cast<size_t>(d);
  for (FittedExit& exit : fitted.exits) {
    const int64_t r = std::ssize(exit.up) / d, h = std::ssize(exit.hidden.offset);
    widest = std::max(widest, static_cast<size_t>(h));
    Exit& made = heads->exits_.emplace_back();
    made.layer = exit.layer;
    made.multiplies = double(exit.translator.size() + exit.up.size() + 2 * exit.hidden.first.size());
    FATHOM_TRY(packer.plan(made.translator, exit.translator, d));
    FATHOM_TRY(packer.plan(made.up, exit.up, r));
    FATHOM_TRY(packer.plan(made.first, exit.hidden.first, d));
    FATHOM_TRY(packer.plan(made.second, exit.hidden.second, h));
    made.bias = std::move(exit.bias);
    made.offset = std::move(exit.hidden.offset);
    made.temperatures = std::move(exit.temperatures);
    made.probe = std::move(exit.probe);
    made.agreement = std::move(exit.agreement);
    made.fills.resize(exit.fills.size());
    for (size_t i = 0; i < made.fills.size(); ++i) {
      FittedFill& fitted_fill = exit.fills[i];
      Fill& fill = made.fills[i];
      fill.layer = fitted_fill.layer;
      fill.multiplies = double(fitted_fill.down.size() + fitted_fill.up.size());
      made.fills_multiply += fill.multiplies;
      FATHOM_TRY(packer.plan(fill.down, fitted_fill.down, d));
      FATHOM_TRY(packer.plan(fill.up, fitted_fill.up, std::ssize(fitted_fill.up) / d));
      fill.bias = std::move(fitted_fill.bias);
    }
  }
  FATHOM_TRY(heads->packed_, packer.pack());
  heads->ones_.assign(widest, 1);
  heads->by_layer_.assign(static_cast<size_t>(config.n_layers), nullptr);
  for (Exit& exit : heads->exits_) {
    heads->by_layer_[static_cast<size_t>(exit.layer)] = &exit;
    (exit.up.empty() ? exit.translator : exit.up).bias = exit.bias.empty() ? nullptr : exit.bias.data();
    exit.first.bias = exit.offset.empty() ? nullptr : exit.offset.data();
    for (Fill& fill : exit.fills) fill.up.bias = fill.bias.data();
  }
  return std::shared_ptr<const ExitHeads>(std::move(heads));
}

int32_t ExitHeads::group(std::string_view name) const noexcept {
  if (name.empty()) return static_cast<int32_t>(groups_.size());
  const auto found = std::find(groups_.begin(), groups_.end(), name);
  return found == groups_.end() ? -1 : static_cast<int32_t>(found - groups_.begin());
}

}  // namespace fathom
