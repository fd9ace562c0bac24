// ExitTrials: recording and forecasting.
#include "src/calibrate/exit_trials.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

namespace fathom {
namespace {

class TrialRecorder final : public ExitWatcher {
 public:
  TrialRecorder(std::span<const int32_t> layers, PieceRunner& runner)
      : ExitWatcher(layers), loss_(runner.loss()), reference_(runner) {}

  ///   asked    places of the text that will be asked, rising; null: all
  Result<void> begin(TextTrial& trial, const PieceText& text, const std::span<const int32_t>* asked) {
    places_.resize(asked != nullptr ? asked->size() : size_t(text.places()));
    if (asked != nullptr) std::copy(asked->begin(), asked->end(), places_.begin());
    if (asked == nullptr) std::iota(places_.begin(), places_.end(), 0);
    trial.answers.resize(places_.size() * layers().size());
    trial_ = &trial;
    first_ = 0;
    return loss_.compares_logits() ? reference_.begin(text, places_, {}) : Result<void>();
  }
  ///   truth    of full depth, at the places of the step
  Result<void> step_done(std::span<const LogitStats> truth) {
    if (!loss_.compares_logits()) {
      for (size_t i = 0; i < truth.size(); ++i) {
        for (size_t e = 0; e < layers().size(); ++e) {
          ExitAnswer& a = answer(i, e);
          a.loss = a.own_loss = loss_({.best = truth[i].argmax}, {.best = a.token});
        }
      }
    }
    first_ += truth.size();
    return error_;
  }

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
    compare(loop, exit, stats, &ExitAnswer::loss);
    if (own == all) {
      for (size_t i = 0; i < stats.size(); ++i) answer(i, exit).own_loss = answer(i, exit).loss;
      return;
    }
    cool(loop, all / own, stats.size());
    for (size_t i = 0; i < stats.size(); ++i) {
      answer(i, exit).own_score = fitted.probe(own_stats_[i], loop.buffers.state(which[i]));
    }
    compare(loop, exit, own_stats_, &ExitAnswer::own_loss);
  }

 private:
  ExitAnswer& answer(size_t i, size_t exit) { return trial_->answers[(first_ + i) * layers().size() + exit]; }

  // Against full depth's logits, which are not there yet in this session.
  void compare(LayerLoop& loop, size_t exit, std::span<const LogitStats> stats, float ExitAnswer::*to) noexcept {
    if (!loss_.compares_logits() || !error_) return;
    const int64_t n = std::ssize(stats), vocab = loop.buffers.vocab;
    const auto losses = reference_.losses(std::span(places_).subspan(first_, stats.size()), stats,
                                          View<const float, 2>(loop.buffers.logits, {n, vocab}));
    if (!losses) {
      error_ = losses.error();
      return;
    }
    for (size_t i = 0; i < stats.size(); ++i) answer(i, exit).*to = (*losses)[i];
  }

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

  Loss loss_;
  Reference reference_;
  Result<void> error_;  // the first
  TextTrial* trial_ = nullptr;
  std::vector<int32_t> places_;  // that are asked
  size_t first_ = 0;             // of them, the first of the running step
  std::vector<LogitStats> own_stats_;
  std::vector<float> listed_;
};

constexpr float kThresholds[] = {.9999f, .9995f, .999f, .998f, .997f, .995f, .993f, .99f, .985f, .98f, .975f, .97f,
                                 .96f,   .95f,   .94f,  .92f,  .9f,   .87f,  .84f,  .8f,  .75f,  .7f,  .6f,   .5f};

Result<ExitTrials> run_trials(PieceRunner& runner, std::span<const PieceText* const> texts,
                              std::span<const int32_t> layers, Progress& progress,
                              std::span<const std::vector<int32_t>> asked) {
  ExitTrials trials{.layers = {layers.begin(), layers.end()}, .texts = {}};
  TrialRecorder recorder(trials.layers, runner);
  for (const PieceText* text : texts) {
    const size_t t = trials.texts.size();
    TextTrial& trial = trials.texts.emplace_back();
    trial.group = text->group;
    if (!asked.empty() && asked[t].empty()) continue;
    std::optional<std::span<const int32_t>> places;
    if (!asked.empty()) places = asked[t];
    FATHOM_TRY(recorder.begin(trial, *text, places ? &*places : nullptr));
    int32_t before = -1;
    float entropy = std::numeric_limits<float>::quiet_NaN();
    const auto record = [&](const PieceStep& step) -> Result<void> {
      for (size_t i = 0; i < step.stats.size(); ++i) {
        const LogitStats& s = step.stats[i];
        trial.tokens.push_back(text->tokens[static_cast<size_t>(step.places[i])]);
        trial.truth.push_back(s.argmax);
        trial.probability.push_back(std::exp(s.max - s.log_sum));
        trial.last_entropy.push_back(step.places[i] == before + 1 ? entropy : std::numeric_limits<float>::quiet_NaN());
        entropy = s.entropy, before = step.places[i];
      }
      return recorder.step_done(step.stats);
    };
    runner.session().observe(&recorder);
    const Result<void> run = places ? runner.run_at(*text, *places, record) : runner.run(*text, Policy(), record);
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
    double lost = 0;
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
        lost += trials.answer(text, p, e).loss;
      }
      out.time += cost.layers * depth / cost.n_layers + checks + (left ? 0 : cost.head);  // its last check is its head
      out.mean_depth += depth;
      ++rows;
    }
    if (text.truth.empty()) continue;
    out.losses[size_t(text.group)] += lost / double(text.truth.size());
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
    want_around(wanted, boldest, n);
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

std::vector<double> oracle_time(const ExitTrials& trials, size_t n_groups, double risk, const RowCost& cost) {
  MeanTime time(n_groups, cost);
  for (const TextTrial& text : trials.texts) {
    for (size_t p = 0; p < text.truth.size(); ++p) {
      double depth = cost.n_layers;
      for (size_t e = 0; e < trials.layers.size(); ++e) {
        if (trials.answer(text, p, e).loss > risk) continue;
        depth = trials.layers[e];
        break;
      }
      time.add(text.group, depth);
    }
  }
  return time.of_groups();
}

}  // namespace fathom
