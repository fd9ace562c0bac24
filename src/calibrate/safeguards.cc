// Safeguards: a test for each class, and a few texts for each limit.
#include "src/calibrate/safeguards.h"

#include <algorithm>
#include <array>

#include "fathom/calibrate/bound.h"
#include "fathom/calibrate/manifest.h"
#include "fathom/engine/generate.h"
#include "src/calibrate/speeds.h"

namespace fathom {
namespace {

constexpr double kByChance = 0.001;  // that a class errs so often: rows of one piece are not independent, so well below
constexpr double kTimesMean = 2;
constexpr double kMostRows = 0.25;  // of all, that one class may have
constexpr size_t kTexts = 12;       // behind whose beginnings each policy writes
constexpr const char* kTried[] = {"full_depth_first(tokens=16)", "full_depth_at(digits) | full_depth_at(delimiters)",
                                  "full_depth_after(low_margin=0.2, rows=2)", "settle_every(tokens=32)"};

struct Tally {
  int64_t rows = 0, left = 0;
  double lost = 0;
};

// The exit by which a row leaves; the number of exits: by none.
size_t exit_of(const ExitTrials& trials, const std::vector<float>& agreement, size_t place, uint32_t exits,
               float threshold) {
  const size_t n = trials.layers.size();
  for (size_t e = 0; e < n; ++e) {
    if ((exits >> e & 1) != 0 && agreement[place * n + e] >= threshold) return e;
  }
  return n;
}

// Chance that so many or more of n err. Losses of which each is a share spread less than so many errors.
double at_least(int64_t errors, int64_t n, double share) {
  return errors > 0 ? 1 - binomial_p_value(errors - 1, n, share) : 1;
}

// Evenly over the texts, whose groups stand one after the other.
std::vector<const PieceText*> few_of(std::span<const PieceText* const> texts) {
  std::vector<const PieceText*> few;
  const size_t n = std::min(kTexts, texts.size());
  for (size_t i = 0; i < n; ++i) few.push_back(texts[i * texts.size() / n]);
  return few;
}

}  // namespace

std::vector<TokenClass> risky_classes(const ExitTrials& trials, const TrialAgreement& agreement, uint32_t exits,
                                      float threshold, std::span<const TokenClass> classes) {
  Tally all;
  std::array<Tally, kTokenClasses> of = {};
  for (size_t t = 0; t < trials.texts.size(); ++t) {
    const TextTrial& text = trials.texts[t];
    for (size_t p = 0; p < text.truth.size(); ++p) {
      const size_t e = exit_of(trials, agreement.whole[t], p, exits, threshold);
      const bool left = e < trials.layers.size();
      const float lost = left ? trials.answer(text, p, e).loss : 0;
      for (Tally* tally : {&all, &of[size_t(classes[size_t(text.tokens[p])])]}) {
        ++tally->rows, tally->left += left, tally->lost += lost;
      }
    }
  }
  std::vector<TokenClass> risky;
  const double mean = all.left > 0 ? all.lost / double(all.left) : 0;
  for (int c = 0; c < kTokenClasses && mean > 0; ++c) {
    const Tally& tally = of[size_t(c)];
    const bool few = double(tally.rows) <= kMostRows * double(all.rows);
    const bool often = tally.lost >= kTimesMean * mean * double(tally.left);
    if (few && often && at_least(static_cast<int64_t>(tally.lost), tally.left, mean) < kByChance) {
      risky.push_back(static_cast<TokenClass>(c));
    }
  }
  return risky;
}

TrialAgreement guarded(const ExitTrials& trials, TrialAgreement agreement, std::span<const TokenClass> kept,
                       std::span<const TokenClass> classes) {
  const size_t n = trials.layers.size();
  for (size_t t = 0; t < trials.texts.size(); ++t) {
    for (size_t p = 0; p < trials.texts[t].truth.size(); ++p) {
      const TokenClass own = classes[size_t(trials.texts[t].tokens[p])];
      if (std::find(kept.begin(), kept.end(), own) == kept.end()) continue;
      for (auto* of : {&agreement.whole[t], &agreement.listed[t]}) {
        std::fill_n(of->begin() + std::ptrdiff_t(p * n), n, -1.0f);
      }
    }
  }
  return agreement;
}

Proposal with_safeguards(Proposal plain, const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups,
                         std::span<const double> risks, int32_t n_settings, const RowCost& cost,
                         std::span<const TokenClass> classes) {
  const int32_t fastest = plain.best_at(risks.front());
  if (fastest < 0) return plain;
  const float threshold = threshold_over(trials, agreement, n_groups, plain.exits, risks.front(), cost);
  const std::vector<TokenClass> kept = risky_classes(trials, agreement, plain.exits, threshold, classes);
  if (kept.empty()) return plain;
  Proposal safer =
      thresholds_for(trials, guarded(trials, agreement, kept, classes), n_groups, plain.exits, risks, n_settings, cost);
  const int32_t guarded_fastest = safer.best_at(risks.front());
  if (guarded_fastest < 0 || safer.forecasts[size_t(guarded_fastest)].time >= plain.forecasts[size_t(fastest)].time) {
    return plain;
  }
  safer.guarded = kept;
  return safer;
}

Result<std::vector<SafeguardEffect>> try_safeguards(const Model& model, std::span<const PieceText* const> texts,
                                                    const std::string& policy, const SessionParts& parts,
                                                    const CalibrateOptions& options, Progress& progress) {
  std::vector<std::string> policies = {policy};
  if (const auto stages = stages_of(policy); stages.size() > 1) policies.push_back(stages.front());
  for (const char* more : kTried) policies.push_back(policy + " | " + more);
  const std::vector<const PieceText*> few = few_of(texts);
  size_t longest = 1;
  for (const PieceText* text : few) longest = std::max(longest, prompt_of(*text).size());
  const int32_t room = int32_t(longest) + options.measured_tokens + 1;
  FATHOM_TRY(Session session,
             Session::make(model, {.max_tokens = std::min(room, model.config().context), .threads = options.threads}));
  FATHOM_TRY(parts.attach(session));
  std::vector<SafeguardEffect> effects;
  for (const std::string& text : policies) effects.push_back({.policy = text});
  std::vector<std::vector<double>> first(policies.size());
  for (size_t t = 0; t < few.size(); ++t) {
    const std::vector<int32_t> prompt = prompt_of(*few[t]);
    const SampleOptions sample = sample_of(options, t);
    FATHOM_TRY(const Generation full,
               generate(session, prompt, {.max_new_tokens = options.measured_tokens, .sample = sample}));
    for (size_t i = 0; i < policies.size(); ++i) {
      FATHOM_TRY(Policy tried, Policy::parse(policies[i]));
      FATHOM_TRY(const Generation own,
                 generate(session, prompt,
                          {.max_new_tokens = options.measured_tokens, .sample = sample, .policy = std::move(tried)}));
      first[i].push_back(first_difference(full.tokens, own.tokens));
      effects[i].equal += full.tokens == own.tokens;
      effects[i].mean_depth += own.mean_depth / double(few.size());
      ++effects[i].n;
    }
    FATHOM_TRY(progress.at(double(t + 1) / double(few.size())));
  }
  for (size_t i = 0; i < effects.size(); ++i) effects[i].median_first_difference = median(std::move(first[i]));
  return effects;
}

}  // namespace fathom
