// Collecting: at each exit's boundary, from the states and logits that stand in the step's buffers.
#include "src/calibrate/exit_collectors.h"

#include <algorithm>
#include <cmath>

#include "fathom/calibrate/logistic.h"

namespace fathom {
namespace {

constexpr float kProbePenalty = 0.03f;
constexpr size_t kAnswerFeatures = 3;

}  // namespace

StateCollector::StateCollector(std::span<const int32_t> layers, int32_t d)
    : layers_(layers), states_(layers.size()), errors_(layers.size()) {
  for (size_t i = 0; i < layers.size(); ++i) fit_.emplace_back(d), held_out_.emplace_back(d);
  for (auto& kept : kept_x_) kept.resize(layers.size());
}

void StateCollector::at(LayerLoop& loop, int32_t layer) noexcept {
  if (loop.rows.empty() || loop.rows[0].kind != RowKind::generated) return;
  const std::span<const float> states(loop.buffers.x, loop.rows.size() * static_cast<size_t>(loop.config.d_model));
  const auto found = std::find(layers_.begin(), layers_.end(), layer);
  if (found != layers_.end()) states_[size_t(found - layers_.begin())].assign(states.begin(), states.end());
  if (layer < loop.config.n_layers) return;
  keep(loop);
  loop.pool.run(std::ssize(layers_), [&](int64_t exit) {
    const auto i = static_cast<size_t>(exit);
    if (errors_[i]) errors_[i] = (holding_out_ ? held_out_ : fit_)[i].add(states_[i], states);
  });
}

Result<void> StateCollector::error() const {
  for (const Result<void>& error : errors_) FATHOM_TRY(error);
  return {};
}

void StateCollector::keep(LayerLoop& loop) {
  const auto d = static_cast<size_t>(loop.config.d_model), side = static_cast<size_t>(holding_out_);
  for (size_t i = 0; i < loop.rows.size(); ++i) {
    if (seen_[side]++ % every_[side] != 0) continue;
    const auto last = loop.buffers.state(int64_t(i));
    kept_y_[side].insert(kept_y_[side].end(), last.begin(), last.end());
    for (size_t e = 0; e < layers_.size(); ++e) {
      const auto at = states_[e].begin() + std::ptrdiff_t(i * d);
      kept_x_[side][e].insert(kept_x_[side][e].end(), at, at + std::ptrdiff_t(d));
    }
  }
}

void AgreementCounter::step_done(std::span<const LogitStats> truth) {
  for (size_t e = 0; e < agreed_.size(); ++e) {
    for (size_t i = 0; i < truth.size(); ++i) agreed_[e] += tokens_[e][i] == truth[i].argmax;
  }
  rows_ += std::ssize(truth);
}

void AgreementCounter::seen(LayerLoop&, size_t exit, std::span<const int32_t>,
                            std::span<const LogitStats> stats) noexcept {
  tokens_[exit].clear();
  for (const LogitStats& s : stats) tokens_[exit].push_back(s.argmax);
}

Result<std::vector<TemperatureFit>> LogitCollector::fit() const {
  FATHOM_TRY(error_);
  return fit_temperatures({.target = target_, .lse = lse_, .cell = cell_},
                          static_cast<int32_t>(layers().size()) * cells_);
}

void LogitCollector::seen(LayerLoop& loop, size_t exit, std::span<const int32_t>,
                          std::span<const LogitStats> stats) noexcept {
  constexpr size_t k = kTemperatureBetas.size();
  const int64_t vocab = loop.buffers.vocab, n = std::ssize(stats);
  if (!error_) return;
  const auto targets = reference_.targets(asked_.subspan(done_, stats.size()), stats,
                                          View<const float, 2>(loop.buffers.logits, {n, vocab}));
  if (!targets) {
    error_ = targets.error();
    return;
  }
  scaled_.resize(stats.size() * size_t(vocab));
  sums_.resize(stats.size() * k);
  loop.pool.run(n, [&](int64_t r) {
    const float* logits = loop.buffers.logits + r * vocab;
    float* scaled = scaled_.data() + r * vocab;
    for (size_t b = 0; b < k; ++b) {
      const float scale = kTemperatureBetas[b] / static_cast<float>(loss_.divisor());
      for (int64_t i = 0; i < vocab; ++i) scaled[i] = scale * logits[i];
      LogitStats of{};
      loop.kernels.logit_stats.run({.logits = scaled, .vocab = vocab, .dst = &of}, 0, 1);
      sums_[size_t(r) * k + b] = of.log_sum;
    }
  });
  for (size_t r = 0; r < stats.size(); ++r) {
    for (const int32_t group : {group_, cells_ - 1}) {
      target_.push_back((*targets)[r]);
      lse_.insert(lse_.end(), sums_.begin() + std::ptrdiff_t(r * k), sums_.begin() + std::ptrdiff_t((r + 1) * k));
      cell_.push_back(int32_t(exit) * cells_ + group);
    }
  }
}

void ProbeCollector::step_done(std::span<const LogitStats> truth) {
  for (const LogitStats& stats : truth) truth_.push_back(stats.argmax);
}

Result<AgreementProbe> ProbeCollector::fit(size_t exit, size_t d) const {
  std::vector<uint8_t> all(truth_.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = tokens_[exit][i] == truth_[i];
  const std::span<const uint8_t> agreed = all;
  const size_t n = agreed.size() - agreed.size() / 4, f = kAnswerFeatures + d;
  std::vector<float> few;
  for (size_t i = 0; i < agreed.size(); ++i) {
    const float* row = features_[exit].data() + i * f;
    few.insert(few.end(), row, row + kAnswerFeatures);
  }
  FATHOM_TRY(const LogisticFit plain, fit_logistic(std::span(few).first(n * kAnswerFeatures), agreed.first(n)));
  FATHOM_TRY(const LogisticFit whole,
             fit_logistic(std::span(features_[exit]).first(n * f), agreed.first(n), {.l2 = kProbePenalty}));
  const auto loss = [&](const LogisticFit& fit, std::span<const float> rows, size_t width) {
    double sum = 0;
    for (size_t i = n; i < agreed.size(); ++i) {
      const double p = std::clamp(double(fit(rows.subspan(i * width, width))), 1e-6, 1 - 1e-6);
      sum -= std::log(agreed[i] != 0 ? p : 1 - p);
    }
    return sum;
  };
  const bool state = loss(whole, features_[exit], f) < loss(plain, few, kAnswerFeatures);
  const LogisticFit& best = state ? whole : plain;
  AgreementProbe probe{.state = {},
                       .confidence = best.weights[0],
                       .margin = best.weights[1],
                       .entropy = best.weights[2],
                       .offset = best.bias};
  if (state) probe.state.assign(best.weights.begin() + kAnswerFeatures, best.weights.end());
  return probe;
}

void ProbeCollector::seen(LayerLoop& loop, size_t exit, std::span<const int32_t> which,
                          std::span<const LogitStats> stats) noexcept {
  std::vector<float>& to = features_[exit];
  for (size_t i = 0; i < stats.size(); ++i) {
    const auto state = loop.buffers.state(which[i]);
    double square = 0;
    for (const float v : state) square += double(v) * v;
    const float scale = 1 / std::sqrt(float(square / double(state.size())) + 1e-12f);
    to.insert(to.end(), {confidence_score(stats[i]), stats[i].max - stats[i].second, stats[i].entropy});
    for (const float v : state) to.push_back(v * scale);
    tokens_[exit].push_back(stats[i].argmax);
  }
}

}  // namespace fathom
