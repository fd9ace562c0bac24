// KV translators from sums of states that stand in the step's buffers.
#include "src/calibrate/fill_fitting.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "fathom/calibrate/ridge.h"
#include "fathom/engine/layer_loop.h"
#include "src/calibrate/translator_fitting.h"

namespace fathom {
namespace {

using Texts = std::span<const PieceText* const>;

constexpr float kLambdas[] = {1e-4f, 1e-2f, 1};

// From the states behind an exit to the input of a layer.
struct Pair {
  Pair(size_t exit_idx, int32_t of_layer, int32_t d)
      : exit(exit_idx), layer(of_layer), sums{RidgeFit(d), RidgeFit(d)} {}
  size_t exit;
  int32_t layer;
  RidgeFit sums[2];  // of rows fitted on, and of those held out
  Result<void> error;
};

class PairCollector final : public LayerObserver {
 public:
  PairCollector(std::span<const int32_t> exits, std::vector<Pair>& pairs)
      : exits_(exits), pairs_(pairs), behind_(exits.size()) {}
  void hold_out() { side_ = 1; }

  void at(LayerLoop& loop, int32_t layer) noexcept override {
    if (loop.rows.empty() || loop.rows[0].kind != RowKind::generated) return;
    const auto exit = std::find(exits_.begin(), exits_.end(), layer);
    const bool ends_pair =
        std::any_of(pairs_.begin(), pairs_.end(), [&](const Pair& pair) { return pair.layer == layer + 1; });
    if (exit == exits_.end() && !ends_pair) return;
    read(loop);
    if (exit != exits_.end()) behind_[size_t(exit - exits_.begin())] = states_;
    loop.pool.run(std::ssize(pairs_), [&](int64_t i) {
      Pair& pair = pairs_[size_t(i)];
      if (pair.layer == layer + 1 && pair.error) pair.error = pair.sums[side_].add(behind_[pair.exit], states_);
    });
  }

 private:
  // States over their root mean squares.
  void read(const LayerLoop& loop) {
    const size_t d = size_t(loop.config.d_model);
    states_.assign(loop.buffers.x, loop.buffers.x + loop.rows.size() * d);
    for (size_t row = 0; row < loop.rows.size(); ++row) {
      const auto state = std::span(states_).subspan(row * d, d);
      double square = 0;
      for (const float v : state) square += double(v) * v;
      const float scale = 1 / std::sqrt(float(square / double(d)) + HiddenLayer::kEpsilon);
      for (float& v : state) v *= scale;
    }
  }

  std::span<const int32_t> exits_;
  std::vector<Pair>& pairs_;
  std::vector<std::vector<float>> behind_;  // [exits][rows, d] of the running step
  std::vector<float> states_;               // [rows, d]
  int side_ = 0;
};

// Mean over rows and numbers of (metric y)^2, y being what is translated to.
double mean_square(const PairMoments& m, std::span<const float> metric) {
  const size_t d = m.mean_x.size();
  double sum = 0;
  for (size_t i = 0; i < d; ++i) {
    const double spread = (m.xx[i * d + i] + 2 * m.xt[i * d + i] + m.tt[i]) / double(m.n);
    const double mean = m.mean_x[i] + m.mean_t[i];
    sum += (spread + mean * mean) * double(metric[i]) * double(metric[i]);
  }
  return sum / double(d);
}

struct Solved {
  FittedFill fill;
  FillQuality quality;
};

Result<Solved> solve(const Pair& pair, int32_t exit, int32_t rank, std::span<const float> metric) {
  FATHOM_TRY(pair.error);
  const PairMoments fitted = pair.sums[0].moments(), held_out = pair.sums[1].moments();
  FATHOM_TRY(const RidgeChoice ridge, choose_ridge(fitted, held_out, kLambdas, RidgePenalty::by_variance, metric));
  FATHOM_TRY(const AffineTranslator low, solve_low_rank(fitted, rank, ridge.options, metric));
  const double size = mean_square(held_out, metric), error = mean_squared_error(low, held_out, metric);
  const auto d = size_t(low.width);
  return Solved{{pair.layer, turned(low.down, d), turned(low.up, size_t(rank)), low.bias},
                {exit, pair.layer, std::sqrt(ridge.identity_error / size), std::sqrt(error / size)}};
}

class Fitting {
 public:
  Fitting(PieceRunner& runner, std::span<const int32_t> exits, Progress& progress)
      : runner_(runner), config_(runner.session().model().config()), exits_(exits), progress_(progress) {}

  Result<FillFit> run(Texts fit, Texts held_out) {
    out_.fills.resize(exits_.size());
    const std::vector<std::pair<size_t, int32_t>> all = pairs();
    const double each = 36.0 * config_.d_model * config_.d_model;
    const size_t most = std::max<size_t>(1, size_t(kMomentBytes / each));
    for (size_t from = 0; from < all.size(); from += most) {
      const auto some = std::span(all).subspan(from, std::min(most, all.size() - from));
      progress_.begin("fitting KV translators", 0.015 * double(some.size()) / double(all.size()));
      FATHOM_TRY(fit_some(some, fit, held_out));
    }
    return std::move(out_);
  }

 private:
  // By exit and layer; none where the rank would not be low, or what is cut down finds no room beside the state.
  std::vector<std::pair<size_t, int32_t>> pairs() {
    rank_ = low_rank(config_.d_model);
    for (const LayerSpec& spec : config_.layers) {
      if (spec.feed_forward < config_.d_model + rank_) rank_ = 0;
    }
    std::vector<std::pair<size_t, int32_t>> all;
    for (size_t e = 0; e < exits_.size() && rank_ > 0; ++e) {
      for (int32_t layer = exits_[e] + 2; layer <= config_.n_layers; ++layer) all.emplace_back(e, layer);
    }
    return all;
  }

  Result<void> fit_some(std::span<const std::pair<size_t, int32_t>> some, Texts fit, Texts held_out) {
    std::vector<Pair> pairs;
    pairs.reserve(some.size());
    for (const auto& [exit, layer] : some) pairs.emplace_back(exit, layer, config_.d_model);
    PairCollector collector(exits_, pairs);
    const double all = double(fit.size() + held_out.size());
    for (size_t t = 0; t < fit.size() + held_out.size(); ++t) {
      if (t == fit.size()) collector.hold_out();
      runner_.session().observe(&collector);
      const Result<void> run =
          runner_.run_at(t < fit.size() ? *fit[t] : *held_out[t - fit.size()], {}, [](const PieceStep&) {});
      runner_.session().observe(nullptr);
      FATHOM_TRY(run);
      FATHOM_TRY(progress_.at(double(t + 1) / all));
    }
    return solve_all(pairs);
  }

  Result<void> solve_all(const std::vector<Pair>& pairs) {
    std::vector<std::optional<Result<Solved>>> solved(pairs.size());
    runner_.session().pool().run(std::ssize(pairs), [&](int64_t i) {
      const Pair& pair = pairs[size_t(i)];
      const float* const norm = runner_.session().model().weights().layers[size_t(pair.layer - 1)].attention_norm;
      const std::vector<float> metric(norm, norm + config_.d_model);
      solved[size_t(i)].emplace(solve(pair, exits_[pair.exit], rank_, metric));
    });
    for (size_t i = 0; i < pairs.size(); ++i) {
      FATHOM_TRY(Solved one, std::move(*solved[i]));
      if (one.quality.translated < one.quality.plain) out_.fills[pairs[i].exit].push_back(std::move(one.fill));
      out_.quality.push_back(one.quality);
    }
    return {};
  }

  PieceRunner& runner_;
  const ModelConfig& config_;
  std::span<const int32_t> exits_;
  Progress& progress_;
  int32_t rank_ = 0;
  FillFit out_;
};

}  // namespace

double fill_bytes(std::span<const FittedFill> fills) {
  double numbers = 0;
  for (const FittedFill& fill : fills) numbers += double(fill.down.size() + fill.up.size());
  return 2 * numbers;
}

Result<FillFit> fit_fills(PieceRunner& runner, Texts fit, Texts held_out, std::span<const int32_t> exits,
                          Progress& progress) {
  return Fitting(runner, exits, progress).run(fit, held_out);
}

}  // namespace fathom
