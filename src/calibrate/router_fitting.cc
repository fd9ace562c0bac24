// Fitting routers: states and oracle's labels from one pass, then a regression for each layer.
//
// The label asks for all layers above at once, not for the coming one alone: rows that skip one layer skip the next
// ones too, and what each skip leaves unchanged by itself the skips together may change.
#include "src/calibrate/router_fitting.h"

#include <algorithm>
#include <cmath>

#include "fathom/calibrate/logistic.h"
#include "src/calibrate/exit_watcher.h"
#include "src/calibrate/held_out.h"
#include "src/calibrate/place_sample.h"

namespace fathom {
namespace {

constexpr double kHeadMacs = 1e13;     // of all labels: a minute or two
constexpr double kStateBytes = 512e6;  // of all states
constexpr int64_t kMostRows = 8000;
constexpr float kRouterPenalty = 0.03f;

class RowCollector final : public ExitWatcher {
 public:
  explicit RowCollector(RouterRows& rows) : ExitWatcher(rows.layers), rows_(rows), answers_(rows.layers.size()) {
    rows_.states.resize(rows.layers.size());
    rows_.spare.resize(rows.layers.size());
  }
  void learn(std::span<const LogitStats> truth, int32_t text, int32_t group) {
    for (size_t l = 0; l < answers_.size(); ++l) {
      for (size_t i = 0; i < truth.size(); ++i) rows_.spare[l].push_back(answers_[l][i] == truth[i].argmax);
      answers_[l].clear();
    }
    rows_.texts.insert(rows_.texts.end(), truth.size(), text);
    rows_.groups.insert(rows_.groups.end(), truth.size(), group);
  }

 protected:
  void seen(LayerLoop& loop, size_t layer, std::span<const int32_t> which,
            std::span<const LogitStats> stats) noexcept override {
    std::vector<float>& to = rows_.states[layer];
    for (size_t i = 0; i < which.size(); ++i) {
      const auto state = loop.buffers.state(which[i]);
      double square = 0;
      for (const float v : state) square += double(v) * v;
      const float scale = 1 / std::sqrt(float(square / double(state.size())) + 1e-12f);
      for (const float v : state) to.push_back(v * scale);
      answers_[layer].push_back(stats[i].argmax);
    }
  }

 private:
  RouterRows& rows_;
  std::vector<std::vector<int32_t>> answers_;  // [layers][rows of the step]
};

// Scores and labels of one layer, of rows of every other kept piece.
struct MapRows {
  std::vector<float> scores, spare;
};

Result<FittedRouter> fit_router(const RouterRows& rows, size_t layer, const std::vector<bool>& is_kept) {
  const size_t d = rows.states[layer].size() / std::max<size_t>(1, rows.size());
  const auto state = [&](size_t row) { return std::span(rows.states[layer]).subspan(row * d, d); };
  std::vector<float> features;
  std::vector<uint8_t> labels;
  for (size_t r = 0; r < rows.size(); ++r) {
    if (is_kept[size_t(rows.texts[r])]) continue;
    features.insert(features.end(), state(r).begin(), state(r).end());
    labels.push_back(rows.spare[layer][r]);
  }
  FATHOM_TRY(LogisticFit fit, fit_logistic(features, labels, {.l2 = kRouterPenalty}));
  FittedRouter router{.layer = rows.layers[layer], .weights = std::move(fit.weights), .bias = fit.bias};
  MapRows halves[2];
  size_t n_kept = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto text = size_t(rows.texts[r]);
    if (!is_kept[text]) continue;
    if (r == 0 || rows.texts[r - 1] != rows.texts[r]) ++n_kept;
    MapRows& half = halves[n_kept % 2];
    half.scores.push_back(router.score(state(r)));
    half.spare.push_back(rows.spare[layer][r]);
  }
  FATHOM_TRY(router.spare, fit_agreement({halves[0].scores, halves[0].spare}, {halves[1].scores, halves[1].spare}));
  return router;
}

}  // namespace

std::vector<int32_t> router_layers(int32_t n_layers) {
  std::vector<int32_t> layers;
  for (int32_t l = std::max(1, n_layers / 4); l < n_layers; ++l) layers.push_back(l);
  return layers;
}

int64_t most_router_rows(const ModelConfig& config, size_t n_layers) {
  const double d = config.d_model, layers = double(std::max<size_t>(1, n_layers));
  const double rows = std::min(kHeadMacs / (layers * d * config.vocab), kStateBytes / (layers * d * sizeof(float)));
  return std::clamp(int64_t(rows), int64_t{64}, kMostRows);
}

Result<RouterRows> router_rows(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                               std::span<const int32_t> layers, int64_t most, Progress& progress) {
  RouterRows rows{.layers = {layers.begin(), layers.end()}, .texts = {}, .groups = {}, .states = {}, .spare = {}};
  RowCollector collector(rows);
  FATHOM_TRY(runner.session().use(std::shared_ptr<const ExitHeads>()));
  const std::vector<std::vector<int32_t>> places = spread_places(texts, n_groups, most);
  for (size_t t = 0; t < texts.size(); ++t) {
    if (places[t].empty()) continue;
    runner.session().observe(&collector);
    const Result<void> run = runner.run_at(
        *texts[t], places[t], [&](const PieceStep& step) { collector.learn(step.stats, int32_t(t), texts[t]->group); });
    runner.session().observe(nullptr);
    FATHOM_TRY(run);
    FATHOM_TRY(progress.at(double(t + 1) / double(texts.size())));
  }
  return rows;
}

Result<std::vector<FittedRouter>> fit_routers(const RouterRows& rows, std::span<const PieceText* const> texts,
                                              size_t n_groups, Progress& progress) {
  const std::vector<bool> is_kept = held_out(texts, n_groups);
  std::vector<FittedRouter> routers;
  for (size_t l = 0; l < rows.layers.size(); ++l) {
    FATHOM_TRY(FittedRouter router, fit_router(rows, l, is_kept));
    routers.push_back(std::move(router));
    FATHOM_TRY(progress.at(double(l + 1) / double(rows.layers.size())));
  }
  return routers;
}

Result<std::vector<RouterQuality>> router_quality(std::span<const FittedRouter> routers, const RouterRows& rows,
                                                  size_t n_groups) {
  std::vector<RouterQuality> out;
  for (size_t l = 0; l < routers.size(); ++l) {
    const size_t d = routers[l].weights.size();
    for (size_t g = 0; g < n_groups; ++g) {
      std::vector<float> scores;
      std::vector<uint8_t> spare;
      for (size_t r = 0; r < rows.size(); ++r) {
        if (rows.groups[r] != int32_t(g)) continue;
        scores.push_back(1 - routers[l].utility(std::span(rows.states[l]).subspan(r * d, d)));
        spare.push_back(rows.spare[l][r]);
      }
      RouterQuality quality{.layer = routers[l].layer, .group = int32_t(g), .rows = std::ssize(spare)};
      for (const uint8_t one : spare) quality.spare += one / double(spare.size());
      FATHOM_TRY(quality.auc, auc(scores, spare));
      out.push_back(quality);
    }
  }
  return out;
}

}  // namespace fathom
