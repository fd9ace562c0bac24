// ExitTrials: recording and forecasting.
#include "src/calibrate/exit_trials.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fathom {
namespace {

class TrialRecorder final : public ExitWatcher {
 public:
  using ExitWatcher::ExitWatcher;
  void begin(TextTrial& trial, size_t places) {
    trial.answers.resize(places * layers().size());
    trial_ = &trial;
    first_ = 0;
  }
  void step_done(size_t rows) { first_ += rows; }

 protected:
  void seen(LayerLoop& loop, size_t exit, std::span<const int32_t> which,
            std::span<const LogitStats> stats) noexcept override {
    const ExitHeads::Exit& fitted = *loop.fitted->at(layers()[exit]);
    const float all = fitted.temperatures[size_t(loop.group)], own = fitted.temperatures[size_t(trial_->group)];
    for (size_t i = 0; i < stats.size(); ++i) {
      const LogitStats& s = stats[i];
      const float first = std::exp(s.max - s.log_sum), score = fitted.probe(s, loop.buffers.state(which[i]));
      answer(i, exit) = {.token = s.argmax,
                         .score = score,
                         .own_score = score,
                         .listed_score = score,
                         .confidence = first,
                         .margin = first - std::exp(s.second - s.log_sum),
                         .entropy = s.entropy};
    }
    look_at_list(loop, exit, which);
    if (own == all) return;
    cool(loop, all / own, stats.size());
    for (size_t i = 0; i < stats.size(); ++i) {
      answer(i, exit).own_score = fitted.probe(own_stats_[i], loop.buffers.state(which[i]));
    }
  }

 private:
  ExitAnswer& answer(size_t i, size_t exit) { return trial_->answers[(first_ + i) * layers().size() + exit]; }

  // What the shortlist alone would say.
  void look_at_list(LayerLoop& loop, size_t exit, std::span<const int32_t> which) noexcept {
    const std::span<const int32_t> all = loop.fitted->shortlist();
    const auto list = all.first(std::min(all.size(), size_t(check_tokens(int32_t(loop.buffers.vocab)))));
    if (list.empty()) return;
    listed_.resize(list.size());
    for (size_t i = 0; i < which.size(); ++i) {
      const float* const logits = loop.buffers.logits + int64_t(i) * loop.buffers.vocab;
      std::transform(list.begin(), list.end(), listed_.begin(), [&](int32_t token) { return logits[token]; });
      LogitStats stats{};
      loop.kernels.logit_stats.run({.logits = listed_.data(), .vocab = std::ssize(listed_), .dst = &stats}, 0, 1);
      answer(i, exit).listed_score = loop.fitted->at(layers()[exit])->probe(stats, loop.buffers.state(which[i]));
    }
  }

  // What the same logits say at another temperature; they stand in place of the old.
  void cool(LayerLoop& loop, float scale, size_t n) noexcept {
    const int64_t vocab = loop.buffers.vocab;
    own_stats_.resize(n);
    loop.pool.run(int64_t(n), [&](int64_t r) {
      float* const logits = loop.buffers.logits + r * vocab;
      for (int64_t i = 0; i < vocab; ++i) logits[i] *= scale;
      loop.kernels.logit_stats.run({.logits = logits, .vocab = vocab, .dst = &own_stats_[size_t(r)]}, 0, 1);
    });
  }

  TextTrial* trial_ = nullptr;
  size_t first_ = 0;
  std::vector<LogitStats> own_stats_;
  std::vector<float> listed_;
};

constexpr float kThresholds[] = {.9999f, .9995f, .999f, .998f, .997f, .995f, .993f, .99f, .985f, .98f, .975f, .97f,
                                 .96f,   .95f,   .94f,  .92f,  .9f,   .87f,  .84f,  .8f,  .75f,  .7f,  .6f,   .5f};

Result<ExitTrials> run_trials(PieceRunner& runner, std::span<const PieceText* const> texts,
                              std::span<const int32_t> layers, Progress& progress,
                              std::span<const std::vector<int32_t>> asked) {
  ExitTrials trials{.layers = {layers.begin(), layers.end()}, .texts = {}};
  TrialRecorder recorder(trials.layers);
  for (const PieceText* text : texts) {
    const size_t t = trials.texts.size();
    TextTrial& trial = trials.texts.emplace_back();
    trial.group = text->group;
    if (!asked.empty() && asked[t].empty()) continue;
    recorder.begin(trial, asked.empty() ? static_cast<size_t>(text->places()) : asked[t].size());
    int32_t before = -1;
    float entropy = std::numeric_limits<float>::quiet_NaN();
    const auto record = [&](const PieceStep& step) {
      for (size_t i = 0; i < step.stats.size(); ++i) {
        const LogitStats& s = step.stats[i];
        trial.tokens.push_back(text->tokens[static_cast<size_t>(step.places[i])]);
        trial.truth.push_back(s.argmax);
        trial.probability.push_back(std::exp(s.max - s.log_sum));
        trial.last_entropy.push_back(step.places[i] == before + 1 ? entropy : std::numeric_limits<float>::quiet_NaN());
        entropy = s.entropy, before = step.places[i];
      }
      recorder.step_done(step.stats.size());
    };
    runner.session().observe(&recorder);
    const Result<void> run =
        asked.empty() ? runner.run(*text, Policy(), record) : runner.run_at(*text, asked[t], record);
    runner.session().observe(nullptr);
    FATHOM_TRY(run);
    FATHOM_TRY(progress.at(double(trials.texts.size()) / double(texts.size())));
  }
  return trials;
}

}  // namespace

Result<ExitTrials> try_exits(PieceRunner& runner, std::span<const PieceText* const> texts,
                             std::span<const int32_t> layers, Progress& progress,
                             std::span<const std::vector<int32_t>> asked) {
  const auto fits = [&](const ExitTrials& kept) {
    for (size_t t = 0; t < texts.size(); ++t) {
      if (kept.texts.size() != texts.size() || kept.texts[t].group != texts[t]->group) return false;
    }
    return kept.consistent(layers);
  };
  return runner.journal().part<ExitTrials>(
      "answers of exits", [&] { return run_trials(runner, texts, layers, progress, asked); }, fits);
}

bool ExitTrials::consistent(std::span<const int32_t> of_layers) const {
  return std::equal(layers.begin(), layers.end(), of_layers.begin(), of_layers.end()) &&
         std::all_of(texts.begin(), texts.end(), [&](const TextTrial& text) {
           const size_t n = text.truth.size();
           return text.tokens.size() == n && text.last_entropy.size() == n && text.probability.size() == n &&
                  text.answers.size() == n * layers.size();
         });
}

TrialAgreement agreement_of(const ExitTrials& trials, std::span<const AgreementMap> maps) {
  TrialAgreement all;
  for (const TextTrial& text : trials.texts) {
    std::vector<float>& whole = all.whole.emplace_back(text.answers.size());
    std::vector<float>& listed = all.listed.emplace_back(text.answers.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      const AgreementMap& map = maps[i % trials.layers.size()];
      whole[i] = map(text.answers[i].score);
      listed[i] = map(text.answers[i].listed_score);
    }
  }
  return all;
}

Forecast forecast(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups, uint32_t exits,
                  float threshold, const RowCost& cost) {
  const size_t n_exits = trials.layers.size();
  std::vector<double> pieces(n_groups);
  Forecast out{.losses = std::vector<double>(n_groups), .time = 0};
  double rows = 0;
  for (size_t t = 0; t < trials.texts.size(); ++t) {
    const TextTrial& text = trials.texts[t];
    double wrong = 0;
    for (size_t p = 0; p < text.truth.size(); ++p) {
      double depth = cost.n_layers, checks = 0;
      bool left = false;
      for (size_t e = 0; e < n_exits && !left; ++e) {
        if ((exits >> e & 1) == 0) continue;
        if (cost.list > 0) {
          checks += cost.list + cost.translators[e];
          if (agreement.listed[t][p * n_exits + e] < threshold) continue;
        }
        checks += cost.head + cost.translators[e];
        left = agreement.whole[t][p * n_exits + e] >= threshold;
        if (!left) continue;
        depth = trials.layers[e];
        wrong += trials.answer(text, p, e).token != text.truth[p];
      }
      out.time += cost.layers * depth / cost.n_layers + checks + (left ? 0 : cost.head);  // its last check is its head
      out.mean_depth += depth;
      ++rows;
    }
    if (text.truth.empty()) continue;
    out.losses[size_t(text.group)] += wrong / double(text.truth.size());
    ++pieces[size_t(text.group)];
  }
  for (size_t g = 0; g < n_groups; ++g) {
    out.losses[g] = pieces[g] > 0 ? out.losses[g] / pieces[g] : 1;
    out.worst = std::max(out.worst, out.losses[g]);
  }
  if (rows > 0) out.time /= rows, out.mean_depth /= rows;
  return out;
}

int32_t Proposal::best_at(double risk) const {
  int32_t best = -1;
  for (size_t i = 0; i < forecasts.size(); ++i) {
    if (forecasts[i].worst > kProposalRoom * risk) break;  // rows leave earlier, and err more, below
    if (best < 0 || forecasts[i].time < forecasts[size_t(best)].time) best = static_cast<int32_t>(i);
  }
  return best;
}

Proposal propose(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups,
                 std::span<const double> risks, int32_t n_settings, const RowCost& cost) {
  uint32_t best = uint32_t{1} << (trials.layers.size() - 1);
  double best_time = std::numeric_limits<double>::infinity();
  for (uint32_t exits = 1; exits < uint32_t{1} << trials.layers.size(); ++exits) {
    for (const float threshold : kThresholds) {
      const Forecast f = forecast(trials, agreement, n_groups, exits, threshold, cost);
      if (f.worst > kProposalRoom * risks.front()) break;  // rows leave earlier, and err more, below
      if (f.time < best_time) best_time = f.time, best = exits;
    }
  }
  return thresholds_for(trials, agreement, n_groups, best, risks, n_settings, cost);
}

Proposal thresholds_for(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups, uint32_t exits,
                        std::span<const double> risks, int32_t n_settings, const RowCost& cost) {
  std::vector<Forecast> all;  // [thresholds]
  for (const float t : kThresholds) all.push_back(forecast(trials, agreement, n_groups, exits, t, cost));
  const size_t n_all = all.size(), n = std::min(n_all, static_cast<size_t>(std::max(1, n_settings)));
  std::vector<bool> wanted(n_all);
  for (const double risk : risks) {
    size_t boldest = 0;
    for (size_t i = 0; i < n_all && all[i].worst <= kProposalRoom * risk; ++i) {
      if (all[i].time < all[boldest].time) boldest = i;
    }
    // Around the best: safer ones, which surely pass, and bolder ones, since a bound may turn out closer.
    const size_t first = std::min(boldest >= n * 2 / 3 ? boldest - n * 2 / 3 : 0, n_all - n);
    std::fill_n(wanted.begin() + std::ptrdiff_t(first), n, true);
  }
  Proposal out{.exits = exits, .thresholds = {}, .forecasts = {}, .listed = cost.listed};
  for (size_t i = 0; i < n_all; ++i) {
    if (!wanted[i]) continue;
    out.thresholds.push_back(kThresholds[i]);
    out.forecasts.push_back(std::move(all[i]));
  }
  return out;
}

double Proposal::fastest() const {
  double time = std::numeric_limits<double>::infinity();
  for (const Forecast& f : forecasts) time = std::min(time, f.time);
  return time;
}

std::string Proposal::policy(float threshold) const {
  const exit_when exit{.agreement_at_least = threshold};
  std::string text = (listed > 0 ? Policy(exit | screen_checks{.tokens = listed}) : Policy(exit)).text();
  for (const TokenClass tokens : guarded) text += " | " + Policy(full_depth_at{.tokens = tokens}).text();
  return text;
}

float threshold_over(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups, uint32_t exits,
                     double risk, const RowCost& cost) {
  for (const float threshold : kThresholds) {
    if (forecast(trials, agreement, n_groups, exits, threshold, cost).worst > kProposalRoom * risk) return threshold;
  }
  return *std::rbegin(kThresholds);
}

std::vector<double> oracle_time(const ExitTrials& trials, size_t n_groups, const RowCost& cost) {
  std::vector<double> time(n_groups), rows(n_groups);
  for (const TextTrial& text : trials.texts) {
    for (size_t p = 0; p < text.truth.size(); ++p) {
      double depth = cost.n_layers;
      for (size_t e = 0; e < trials.layers.size(); ++e) {
        if (trials.answer(text, p, e).token != text.truth[p]) continue;
        depth = trials.layers[e];
        break;
      }
      time[size_t(text.group)] += cost.layers * depth / cost.n_layers + cost.head;
      ++rows[size_t(text.group)];
    }
  }
  for (size_t g = 0; g < n_groups; ++g) time[g] = rows[g] > 0 ? time[g] / rows[g] : 1;
  return time;
}

}  // namespace fathom
