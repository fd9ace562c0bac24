// Fitting exits: sums over the first pass, temperatures, probes and maps each from a sample of places after it.
#include "src/calibrate/exit_fitting.h"

#include <algorithm>
#include <cmath>

#include "src/calibrate/exit_collectors.h"
#include "src/calibrate/held_out.h"
#include "src/calibrate/likely_tokens.h"
#include "src/calibrate/place_sample.h"
#include "src/calibrate/translator_fitting.h"

namespace fathom {
namespace {

// A head is most of what a place costs where the vocabulary is large. One number of each exit and group, some hundred
// of each exit, and a map of each exit and group, by which settings are proposed too.
constexpr int64_t kTemperaturePlaces = 1024, kProbePlaces = 8192, kMapPlaces = 8192;
constexpr int32_t kListed = 8192;  // tokens that a shortlist of exit checks may have

// Scores of one exit and how little its answers lose, in two halves of the pieces.
struct ScoreRows {
  std::vector<float> scores[2], agreed[2];

  // Of one group at its own temperature, or of all where `group` is -1.
  void add(const ExitTrials& trials, size_t exit, int32_t group) {
    size_t half = 0;
    for (const TextTrial& text : trials.texts) {
      if (group >= 0 && text.group != group) continue;
      for (size_t p = 0; p < text.truth.size(); ++p) {
        const ExitAnswer& answer = trials.answer(text, p, exit);
        scores[half].push_back(group >= 0 ? answer.own_score : answer.score);
        agreed[half].push_back(1 - (group >= 0 ? answer.own_loss : answer.loss));
      }
      half = 1 - half;
    }
  }
  Result<AgreementMap> map() const { return fit_agreement({scores[0], agreed[0]}, {scores[1], agreed[1]}); }
};

class Fitting {
 public:
  Fitting(PieceRunner& runner, std::span<const PieceText> texts, std::span<const std::string> groups,
          std::span<const int32_t> layers, Progress& progress)
      : runner_(runner), layers_(layers), progress_(progress) {
    record_.exits.groups.assign(groups.begin(), groups.end());
    std::vector<const PieceText*> all;
    for (const PieceText& text : texts) all.push_back(&text);
    texts_ = split_for_fit(all, n_groups());
  }

  Result<FittedRecord> run() {
    FATHOM_TRY(translators());
    FATHOM_TRY(choose_translators());
    FATHOM_TRY(temperatures());
    FATHOM_TRY(probes());
    FATHOM_TRY(maps());
    return std::move(record_);
  }

 private:
  using Texts = std::span<const PieceText* const>;
  using Places = std::vector<std::vector<int32_t>>;  // [texts]

  size_t n_groups() const { return record_.exits.groups.size(); }
  Result<void> attach() {
    FATHOM_TRY(std::shared_ptr<const ExitHeads> heads, ExitHeads::make(runner_.session().model(), record_.exits));
    return runner_.session().use(std::move(heads));
  }

  // Without a head, but for full depth's tokens where temperatures will ask for them.
  Result<void> translators() {
    const ModelConfig& config = runner_.session().model().config();
    const int32_t d = config.d_model;
    StateCollector states(layers_, d);
    LikelyTokens likely(config.vocab);
    for (const Texts texts : {Texts(texts_.fit), Texts(texts_.held_out)}) {
      for (const PieceText* text : texts) likely.stand(text->tokens);
    }
    tempered_ = spread_places(texts_.held_out, n_groups(), kTemperaturePlaces);
    int64_t rows[2] = {};
    for (const PieceText* text : texts_.fit) rows[0] += text->places();
    for (const PieceText* text : texts_.held_out) rows[1] += text->places();
    states.keep_every(1 + (rows[0] - 1) / kKeptRows[0], 1 + (rows[1] - 1) / kKeptRows[1]);
    progress_.begin("fitting translators", 0.06);
    FATHOM_TRY(run_all(texts_.fit, Places(texts_.fit.size()), states, [](size_t, const PieceStep&) {}));
    FATHOM_TRY(states.error());
    states.hold_out(true);
    truth_.resize(texts_.held_out.size());
    progress_.begin("fitting translators", 0.03);
    FATHOM_TRY(run_all(texts_.held_out, tempered_, states, [&](size_t t, const PieceStep& step) {
      for (const LogitStats& stats : step.stats) truth_[t].push_back(stats.argmax);
      for (int64_t i = 0; i < std::ssize(step.stats); ++i) likely.rank(step.logits[i].flat());
    }));
    record_.exits.shortlist = likely.list(kListed);
    FATHOM_TRY(states.error());
    int32_t narrowest = config.layers[0].feed_forward;
    for (const LayerSpec& spec : config.layers) narrowest = std::min(narrowest, spec.feed_forward);
    progress_.begin("fitting translators", 0.04);
    FATHOM_TRY(kinds_, fit_translators(states, narrowest, runner_.session().pool(), progress_));
    return {};
  }

  // By agreement at the places that temperatures will ask, against the bytes that a translation reads.
  Result<void> choose_translators() {
    const Weights& weights = runner_.session().model().weights();
    record_.agreement.resize(layers_.size());
    for (int kind = 0; kind < kTranslatorKinds; ++kind) {
      use_kind([&](size_t) { return kind; });
      FATHOM_TRY(attach());
      AgreementCounter counter(layers_);
      progress_.begin("choosing translators", 0.02);
      FATHOM_TRY(run_asked(texts_.held_out, tempered_, counter,
                           [&](size_t, const PieceStep& step) { counter.step_done(step.stats); }));
      for (size_t e = 0; e < layers_.size(); ++e) record_.agreement[e][size_t(kind)] = counter.agreement(e);
    }
    std::vector<TranslatorKind> kept;
    for (size_t e = 0; e < layers_.size(); ++e) {
      double saved = 0;
      for (size_t l = size_t(layers_[e]); l < weights.layers.size(); ++l) saved += layer_bytes(weights.layers[l]);
      std::array<double, kTranslatorKinds> bytes;
      for (size_t k = 0; k < kTranslatorKinds; ++k) bytes[k] = translator_bytes(kinds_[e][k]);
      kept.push_back(worth_most(record_.agreement[e], saved, bytes));
      for (size_t k = 0; k < kTranslatorKinds; ++k) {
        if (kind_of(kinds_[e][k]) != TranslatorKind(k)) record_.agreement[e][k] = NAN;
      }
    }
    use_kind([&](size_t e) { return int(kept[e]); });
    kinds_.clear();
    return {};
  }
  template <class F>
  void use_kind(F&& kind_of) {
    record_.exits.exits.clear();
    for (size_t e = 0; e < kinds_.size(); ++e) {
      FittedExit& exit = record_.exits.exits.emplace_back(kinds_[e][size_t(kind_of(e))]);
      exit.temperatures.assign(n_groups() + 1, 1);
      exit.agreement.resize(n_groups() + 1);
    }
  }

  Result<void> temperatures() {
    FATHOM_TRY(attach());
    LogitCollector logits(layers_, n_groups(), runner_);
    progress_.begin("fitting temperatures", 0.03);
    FATHOM_TRY(run_asked(
        texts_.held_out, tempered_, logits, [&](size_t, const PieceStep& step) { logits.step_done(step.stats.size()); },
        [&](size_t t) { logits.begin(*texts_.held_out[t], tempered_[t], truth_[t]); }));
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
    ProbeCollector probes(layers_);
    progress_.begin("fitting probes", 0.06);
    FATHOM_TRY(run_asked(texts_.fit, spread_places(texts_.fit, n_groups(), kProbePlaces), probes,
                         [&](size_t, const PieceStep& step) { probes.step_done(step.stats); }));
    progress_.begin("fitting probes", 0.04);
    for (size_t e = 0; e < layers_.size(); ++e) {
      FATHOM_TRY(record_.exits.exits[e].probe, probes.fit(e, d));
      FATHOM_TRY(progress_.at(double(e + 1) / double(layers_.size())));
    }
    return {};
  }

  // A group's map holds at the group's temperature, which the same logits give.
  Result<void> maps() {
    FATHOM_TRY(attach());
    progress_.begin("fitting agreement", 0.06);
    FATHOM_TRY(record_.trials, try_exits(runner_, texts_.held_out, layers_, progress_,
                                         spread_places(texts_.held_out, n_groups(), kMapPlaces)));
    for (size_t g = 0; g <= n_groups(); ++g) {
      for (size_t e = 0; e < layers_.size(); ++e) {
        ScoreRows rows;
        rows.add(record_.trials, e, g < n_groups() ? int32_t(g) : -1);
        FATHOM_TRY(record_.exits.exits[e].agreement[g], rows.map());
      }
    }
    return attach();
  }

  // Runs texts at full depth under an observer, with heads where they are asked for.
  template <class Step>
  Result<void> run_all(Texts texts, const Places& asked, LayerObserver& observer, Step&& step) {
    for (size_t t = 0; t < texts.size(); ++t) FATHOM_TRY(run_one(t, texts, asked, observer, step));
    return {};
  }
  // The same of texts that are asked for heads, where the observer looks at nothing else.
  template <class Step>
  Result<void> run_asked(Texts texts, const Places& asked, LayerObserver& observer, Step&& step) {
    return run_asked(texts, asked, observer, step, [](size_t) {});
  }
  template <class Step, class Begin>
  Result<void> run_asked(Texts texts, const Places& asked, LayerObserver& observer, Step&& step, Begin&& begin) {
    for (size_t t = 0; t < texts.size(); ++t) {
      if (asked[t].empty()) continue;
      begin(t);
      FATHOM_TRY(run_one(t, texts, asked, observer, step));
    }
    return {};
  }
  template <class Step>
  Result<void> run_one(size_t t, Texts texts, const Places& asked, LayerObserver& observer, Step& step) {
    runner_.session().observe(&observer);
    const Result<void> run = runner_.run_at(*texts[t], asked[t], [&](const PieceStep& s) { step(t, s); });
    runner_.session().observe(nullptr);
    FATHOM_TRY(run);
    return progress_.at(double(t + 1) / double(texts.size()));
  }

  PieceRunner& runner_;
  std::span<const int32_t> layers_;
  Progress& progress_;
  FitSplit texts_;                           // what is held out gives maps
  std::vector<TranslatorKinds> kinds_;       // [exits] until one is chosen
  Places tempered_;                          // of texts_.held_out
  std::vector<std::vector<int32_t>> truth_;  // [texts_.held_out][places of tempered_] full depth's tokens
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
  const auto fits = [&](const FittedRecord& kept) {
    const auto group = [&](int32_t g, size_t n) { return g >= 0 && size_t(g) < n; };
    return kept.exits.groups.size() == groups.size() && kept.exits.exits.size() == layers.size() &&
           kept.agreement.size() == layers.size() &&
           std::all_of(kept.temperatures.begin(), kept.temperatures.end(),
                       [&](const TemperatureRecord& t) { return group(t.group, groups.size() + 1); }) &&
           std::all_of(kept.trials.texts.begin(), kept.trials.texts.end(),
                       [&](const TextTrial& text) { return group(text.group, groups.size()); }) &&
           kept.trials.consistent(layers);
  };
  return runner.journal().part<FittedRecord>(
      "fitted exits", [&] { return Fitting(runner, texts, groups, layers, progress).run(); }, fits);
}

}  // namespace fathom
