// Fitting exits: sums over the first pass, temperatures from the second, maps from the third.
#include "src/calibrate/exit_fitting.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "fathom/calibrate/logistic.h"
#include "fathom/calibrate/ridge.h"
#include "fathom/calibrate/temperature.h"
#include "fathom/engine/layer_loop.h"

namespace fathom {
namespace {

constexpr int32_t kTemperatureStride = 8;  // one row of so many gives its logits to the temperatures
constexpr size_t kProbeRows = 12000;       // of the pieces give their states to the probes
constexpr float kProbePenalty = 0.03f;
constexpr size_t kMapsEvery = 3;  // one piece of so many is kept from the translators

// Feeds states of exits and of the last layer to the fits.
class StateCollector final : public LayerObserver {
 public:
  StateCollector(std::span<const int32_t> layers, int32_t d) : layers_(layers), states_(layers.size()) {
    for (size_t i = 0; i < layers.size(); ++i) fit_.emplace_back(d), held_out_.emplace_back(d);
  }
  void at(LayerLoop& loop, int32_t layer) noexcept override {
    if (loop.rows.empty() || !loop.rows[0].predicts) return;
    const auto n = loop.rows.size() * static_cast<size_t>(loop.config.d_model);
    const auto found = std::find(layers_.begin(), layers_.end(), layer);
    if (found != layers_.end()) {
      states_[size_t(found - layers_.begin())].assign(loop.buffers.x, loop.buffers.x + n);
    }
    if (layer < loop.config.n_layers || !error_) return;
    for (size_t i = 0; i < layers_.size() && error_; ++i) {
      error_ = (maps_ ? held_out_ : fit_)[i].add(states_[i], {loop.buffers.x, n});
    }
  }
  void use_for_maps(bool maps) { maps_ = maps; }
  Result<void> error() const { return error_; }

  Result<AffineTranslator> translator(size_t i) const {
    FATHOM_TRY(RidgeChoice choice,
               choose_ridge(fit_[i].moments(), held_out_[i].moments(), kRidgeLambdas, RidgePenalty::by_variance));
    return std::move(choice.translator);
  }

 private:
  std::span<const int32_t> layers_;
  std::vector<std::vector<float>> states_;  // [layers] of the running step
  std::vector<RidgeFit> fit_, held_out_;    // [layers]
  bool maps_ = false;
  Result<void> error_;
};

// What temperatures need of the logits at exits, for some rows.
class LogitCollector final : public ExitWatcher {
 public:
  LogitCollector(std::span<const int32_t> layers, size_t n_groups)
      : ExitWatcher(layers), cells_(static_cast<int32_t>(n_groups + 1)) {}
  void expect(std::span<const int32_t> truth, int32_t group, int32_t first) {
    truth_ = truth.subspan(size_t(first)), group_ = group;
  }
  Result<std::vector<TemperatureFit>> fit() const {
    return fit_temperatures({.target = target_, .lse = lse_, .cell = cell_},
                            static_cast<int32_t>(layers().size()) * cells_);
  }

 protected:
  void seen(LayerLoop& loop, size_t exit, std::span<const LogitStats> stats) noexcept override {
    constexpr size_t k = kTemperatureBetas.size();
    const int64_t vocab = loop.buffers.vocab;
    const auto rows = (stats.size() + kTemperatureStride - 1) / kTemperatureStride;
    scaled_.resize(rows * size_t(vocab));
    sums_.resize(rows * k);
    loop.pool.run(int64_t(rows), [&](int64_t r) {
      const float* logits = loop.buffers.logits + r * kTemperatureStride * vocab;
      float* scaled = scaled_.data() + r * vocab;
      for (size_t b = 0; b < k; ++b) {
        for (int64_t i = 0; i < vocab; ++i) scaled[i] = kTemperatureBetas[b] * logits[i];
        LogitStats of{};
        loop.kernels.logit_stats.run({.logits = scaled, .vocab = vocab, .dst = &of}, 0, 1);
        sums_[size_t(r) * k + b] = of.log_sum;
      }
    });
    for (size_t r = 0; r < rows; ++r) {
      const size_t row = r * kTemperatureStride;
      const int32_t token = truth_[row];
      for (const int32_t group : {group_, cells_ - 1}) {
        target_.push_back(loop.buffers.logits[int64_t(row) * vocab + token]);
        lse_.insert(lse_.end(), sums_.begin() + std::ptrdiff_t(r * k), sums_.begin() + std::ptrdiff_t((r + 1) * k));
        cell_.push_back(int32_t(exit) * cells_ + group);
      }
    }
  }

 private:
  std::span<const int32_t> truth_;  // from the step's first place on
  int32_t group_ = 0, cells_;
  std::vector<float> target_, lse_, scaled_, sums_;
  std::vector<int32_t> cell_;
};

// Features of a probe at every exit for some rows, and whether the exit's answer was full depth's.
class ProbeCollector final : public ExitWatcher {
 public:
  ProbeCollector(std::span<const int32_t> layers, int32_t stride)
      : ExitWatcher(layers), features_(layers.size()), agreed_(layers.size()), stride_(stride) {}
  void expect(std::span<const int32_t> truth, int32_t first) { truth_ = truth.subspan(size_t(first)); }

  /// The probe of an exit: with the state where that predicts better on the last quarter of the rows.
  Result<AgreementProbe> fit(size_t exit, size_t d) const {
    const std::span<const uint8_t> agreed = agreed_[exit];
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

 protected:
  void seen(LayerLoop& loop, size_t exit, std::span<const LogitStats> stats) noexcept override {
    for (size_t i = 0; i < stats.size(); i += size_t(stride_)) {
      const auto state = loop.buffers.state(int64_t(i));
      double square = 0;
      for (const float v : state) square += double(v) * v;
      const float scale = 1 / std::sqrt(float(square / double(state.size())) + 1e-12f);
      std::vector<float>& to = features_[exit];
      to.insert(to.end(), {confidence_score(stats[i]), stats[i].max - stats[i].second, stats[i].entropy});
      for (const float v : state) to.push_back(v * scale);
      agreed_[exit].push_back(stats[i].argmax == truth_[i]);
    }
  }

 private:
  static constexpr size_t kAnswerFeatures = 3;
  std::vector<std::vector<float>> features_;  // [exits][rows, 3 + d]
  std::vector<std::vector<uint8_t>> agreed_;  // [exits][rows]
  std::span<const int32_t> truth_;            // from the step's first place on
  int32_t stride_;
};

// Scores of one exit and whether its answer was full depth's, in two halves of the pieces.
struct ScoreRows {
  std::vector<float> scores[2];
  std::vector<uint8_t> agreed[2];

  void add(const ExitTrials& trials, size_t exit) {
    for (size_t t = 0; t < trials.texts.size(); ++t) {
      const TextTrial& text = trials.texts[t];
      for (size_t p = 0; p < text.truth.size(); ++p) {
        const ExitAnswer& answer = trials.answer(text, p, exit);
        scores[t % 2].push_back(answer.score);
        agreed[t % 2].push_back(answer.token == text.truth[p]);
      }
    }
  }
  Result<AgreementMap> map() const { return fit_agreement({scores[0], agreed[0]}, {scores[1], agreed[1]}); }
};

std::vector<float> transposed(const std::vector<float>& down, size_t d) {
  std::vector<float> rows(d * d);
  for (size_t i = 0; i < d; ++i) {
    for (size_t o = 0; o < d; ++o) rows[o * d + i] = down[i * d + o];
  }
  return rows;
}

class Fitting {
 public:
  Fitting(PieceRunner& runner, std::span<const PieceText> texts, std::span<const std::string> groups,
          std::span<const int32_t> layers, Progress& progress)
      : runner_(runner), texts_(texts), layers_(layers), progress_(progress), truth_(texts.size()) {
    record_.exits.groups.assign(groups.begin(), groups.end());
  }

  Result<FittedRecord> run() {
    FATHOM_TRY(translators());
    FATHOM_TRY(temperatures());
    FATHOM_TRY(probes());
    FATHOM_TRY(maps());
    return std::move(record_);
  }

 private:
  size_t n_groups() const { return record_.exits.groups.size(); }
  // One piece of three of each group, in the order of its pieces.
  std::vector<size_t> map_pieces() const {
    std::vector<size_t> seen(n_groups()), out;
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (seen[size_t(texts_[i].group)]++ % kMapsEvery == kMapsEvery - 1) out.push_back(i);
    }
    return out;
  }
  Result<void> attach() {
    FATHOM_TRY(std::shared_ptr<const ExitHeads> heads, ExitHeads::make(runner_.session().model(), record_.exits));
    return runner_.session().use(std::move(heads));
  }

  Result<void> translators() {
    const int32_t d = runner_.session().model().config().d_model;
    StateCollector states(layers_, d);
    const std::vector<size_t> maps = map_pieces();
    runner_.session().observe(&states);
    progress_.begin("fitting translators", 0.2);
    for (size_t i = 0; i < texts_.size(); ++i) {
      states.use_for_maps(std::binary_search(maps.begin(), maps.end(), i));
      FATHOM_TRY(runner_.run(texts_[i], Policy(), [&](const PieceStep& step) {
        for (const LogitStats& stats : step.stats) truth_[i].push_back(stats.argmax);
      }));
      FATHOM_TRY(states.error());
      FATHOM_TRY(progress_.at(double(i + 1) / double(texts_.size())));
    }
    runner_.session().observe(nullptr);
    for (size_t e = 0; e < layers_.size(); ++e) {
      FATHOM_TRY(AffineTranslator fitted, states.translator(e));
      FittedExit exit{.layer = layers_[e],
                      .translator = transposed(fitted.down, size_t(d)),
                      .bias = std::move(fitted.bias),
                      .temperatures = std::vector<float>(n_groups() + 1, 1),
                      .agreement = std::vector<AgreementMap>(n_groups() + 1)};
      record_.exits.exits.push_back(std::move(exit));
    }
    return {};
  }

  Result<void> temperatures() {
    FATHOM_TRY(attach());
    LogitCollector logits(layers_, n_groups());
    const auto expect = [&](size_t piece, int32_t first) { logits.expect(truth_[piece], texts_[piece].group, first); };
    FATHOM_TRY(over(
        map_pieces(), "fitting temperatures", 0.05, logits, [&](size_t piece) { expect(piece, 0); }, expect));
    FATHOM_TRY(const std::vector<TemperatureFit> fits, logits.fit());
    for (size_t i = 0; i < fits.size(); ++i) {
      const size_t exit = i / (n_groups() + 1), group = i % (n_groups() + 1);
      record_.exits.exits[exit].temperatures[group] = fits[i].temperature;
      record_.temperatures.push_back(
          {layers_[exit], int32_t(group), fits[i].temperature, fits[i].nll_before, fits[i].nll_after});
    }
    return {};
  }

  // On the translators' pieces, so that maps see scores as new text has them.
  Result<void> probes() {
    FATHOM_TRY(attach());
    const auto d = size_t(runner_.session().model().config().d_model);
    const std::vector<size_t> maps = map_pieces();
    std::vector<size_t> fitted;
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (!std::binary_search(maps.begin(), maps.end(), i)) fitted.push_back(i);
    }
    size_t places = 0;
    for (const size_t i : fitted) places += size_t(texts_[i].places());
    ProbeCollector probes(layers_, int32_t(std::max<size_t>(1, places / kProbeRows)));
    FATHOM_TRY(over(
        fitted, "fitting probes", 0.1, probes, [&](size_t piece) { probes.expect(truth_[piece], 0); },
        [&](size_t piece, int32_t next) { probes.expect(truth_[piece], next); }));
    progress_.begin("fitting probes", 0.05);
    for (size_t e = 0; e < layers_.size(); ++e) {
      FATHOM_TRY(record_.exits.exits[e].probe, probes.fit(e, d));
      FATHOM_TRY(progress_.at(double(e + 1) / double(layers_.size())));
    }
    return {};
  }

  // A group's map holds at the group's temperature: each group's pieces are run with its own, and all once more.
  Result<void> maps() {
    FATHOM_TRY(std::shared_ptr<const ExitHeads> heads, ExitHeads::make(runner_.session().model(), record_.exits));
    const auto map_of = [&](const ExitTrials& trials, size_t group) -> Result<void> {
      for (size_t e = 0; e < layers_.size(); ++e) {
        ScoreRows rows;
        rows.add(trials, e);
        FATHOM_TRY(record_.exits.exits[e].agreement[group], rows.map());
      }
      return {};
    };
    for (size_t g = 0; g <= n_groups(); ++g) {
      std::vector<const PieceText*> of_group;
      for (const size_t i : map_pieces()) {
        if (g == n_groups() || texts_[i].group == int32_t(g)) of_group.push_back(&texts_[i]);
      }
      const bool all = g == n_groups();
      FATHOM_TRY(runner_.session().use(heads, all ? std::string_view() : record_.exits.groups[g]));
      progress_.begin("fitting agreement", all ? 0.05 : 0.05 / double(n_groups()));
      FATHOM_TRY(ExitTrials trials, try_exits(runner_, of_group, layers_, progress_));
      FATHOM_TRY(map_of(trials, g));
      if (all) record_.trials = std::move(trials);
    }
    return attach();
  }

  // Runs pieces at full depth under an observer, which is told where each step begins.
  template <class Begin, class Step>
  Result<void> over(std::span<const size_t> pieces, std::string_view what, double share, LayerObserver& observer,
                    Begin&& begin, Step&& step) {
    progress_.begin(what, share);
    for (size_t i = 0; i < pieces.size(); ++i) {
      begin(pieces[i]);
      runner_.session().observe(&observer);
      const Result<void> run = runner_.run(texts_[pieces[i]], Policy(), [&](const PieceStep& s) {
        step(pieces[i], s.first + static_cast<int32_t>(s.stats.size()));
      });
      runner_.session().observe(nullptr);
      FATHOM_TRY(run);
      FATHOM_TRY(progress_.at(double(i + 1) / double(pieces.size())));
    }
    return {};
  }

  PieceRunner& runner_;
  std::span<const PieceText> texts_;
  std::span<const int32_t> layers_;
  Progress& progress_;
  std::vector<std::vector<int32_t>> truth_;  // [texts][places] full depth's tokens
  FittedRecord record_;
};

}  // namespace

std::vector<int32_t> exit_layers(int32_t n_layers, int32_t n) {
  std::vector<int32_t> layers;
  const double first = std::max(1.0, n_layers / 4.0), last = n_layers - 1;
  for (int32_t i = 0; i < n; ++i) {
    const auto layer = static_cast<int32_t>(first + (last - first) * i / std::max(1, n - 1) + 0.5);
    if (layer >= 1 && layer < n_layers && (layers.empty() || layer > layers.back())) layers.push_back(layer);
  }
  return layers;
}

Result<FittedRecord> fit_exits(PieceRunner& runner, std::span<const PieceText> texts,
                               std::span<const std::string> groups, std::span<const int32_t> layers,
                               Progress& progress) {
  return Fitting(runner, texts, groups, layers, progress).run();
}

}  // namespace fathom
