// Greedy sets: a forecast picks what is tried, a run decides.
#include "src/calibrate/skip_trials.h"

#include <algorithm>
#include <optional>

#include "src/calibrate/candidates.h"

namespace fathom {
namespace {

constexpr int32_t kSteps = 8;     // parts or bundles that are added, at most
constexpr size_t kTried = 3;      // joined sets that are run for each
constexpr double kNoLoss = 1e-3;  // what changes less is as good as what changes nothing, and the larger saving wins

/// Something to add: a part, or several heads.
struct Addition {
  SkipSet set;
  std::vector<const Ablation*> alone;  // of each of its parts
  double saved = 0;
};

std::vector<const Ablation*> heads_by_harm(const LayerProfile& profile) {
  std::vector<std::pair<double, const Ablation*>> all;
  for (const auto& layer : profile.heads) {
    for (const Ablation& head : layer) {
      const Ablation* const one[] = {&head};
      all.push_back({worst_changed_share(profile, one), &head});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<const Ablation*> out;
  for (const auto& [harm, head] : all) out.push_back(head);
  return out;
}

std::vector<Addition> additions_of(const LayerProfile& profile) {
  std::vector<Addition> out;
  for (const auto& part : profile.parts) {
    for (const Ablation& a : part) out.push_back({a.set, {&a}, a.saved});
  }
  const std::vector<const Ablation*> heads = heads_by_harm(profile);
  for (size_t n = 1; n <= std::min(heads.size(), size_t{kMaxPolicyHeads}); n *= 2) {
    Addition bundle;
    for (size_t i = 0; i < n; ++i) {
      bundle.set = bundle.set.with(heads[i]->set);
      bundle.alone.push_back(heads[i]);
      bundle.saved += heads[i]->saved;
    }
    out.push_back(std::move(bundle));
  }
  return out;
}

// What is forecast to save most for each token that it changes, a few.
std::vector<const Addition*> promising(const LayerProfile& profile, const std::vector<Addition>& additions,
                                       const Ablation& so_far, double risk) {
  struct Ranked {
    double value;
    const Addition* addition;
  };
  std::vector<Ranked> ranked;
  for (const Addition& addition : additions) {
    const SkipSet joined = so_far.set.with(addition.set);
    if (joined == so_far.set || joined.heads.has_refused()) continue;
    std::vector<const Ablation*> all = addition.alone;
    if (!so_far.set.empty()) all.push_back(&so_far);
    const double forecast = worst_changed_share(profile, all);
    if (forecast <= risk) ranked.push_back({addition.saved / (kNoLoss + forecast), &addition});
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) { return a.value > b.value; });
  std::vector<const Addition*> out;
  for (size_t i = 0; i < std::min(kTried, ranked.size()); ++i) out.push_back(ranked[i].addition);
  return out;
}

}  // namespace

Result<SkipTrials> try_skips(PieceRunner& runner, const LayerProfile& profile, double risk, Progress& progress) {
  SkipTrials out;
  const std::vector<Addition> additions = additions_of(profile);
  for (const auto& part : profile.parts) {
    for (const Ablation& a : part) {
      const Ablation* const one[] = {&a};
      const double harm = worst_changed_share(profile, one);
      if (out.cheapest_policy.empty() || harm < out.cheapest) out.cheapest = harm, out.cheapest_policy = a.set.text();
    }
  }
  progress.begin("trying skips", 0.02);
  Ablation so_far;
  for (int32_t step = 0; step < kSteps; ++step) {
    std::optional<Ablation> best;
    double best_value = 0;
    for (const Addition* addition : promising(profile, additions, so_far, risk)) {
      FATHOM_TRY(Ablation joined, without(runner, profile, so_far.set.with(addition->set), profile.texts.size()));
      const Ablation* const one[] = {&joined};
      const double harm = worst_changed_share(profile, one), value = joined.saved / (kNoLoss + harm);
      if (harm <= risk && joined.saved > so_far.saved && (!best || value > best_value)) {
        best_value = value;
        best = std::move(joined);
      }
      FATHOM_TRY(progress.at(double(step + 1) / kSteps));
    }
    if (!best) break;
    so_far = *best;
    out.sets.push_back(std::move(*best));
  }
  return out;
}

std::vector<CalibratedSetting> skip_settings(const LayerProfile& profile, const SkipTrials& trials,
                                             int32_t n_settings) {
  std::vector<const Ablation*> worth;
  for (const Ablation& set : trials.sets) {
    if (1 - set.saved <= kWorthTrying) worth.push_back(&set);
  }
  std::vector<CalibratedSetting> out;
  const size_t n = std::min(worth.size(), static_cast<size_t>(n_settings));
  for (size_t i = 0; i < n; ++i) {  // spread over all of them, the boldest included
    const Ablation& set = *worth[(i + 1) * worth.size() / n - 1];
    const Ablation* const one[] = {&set};
    out.push_back({.policy = set.set.text(),
                   .mechanism = "skip",
                   .threshold = float(set.set.size()),
                   .predicted = worst_changed_share(profile, one),
                   .forecast = 1 - set.saved,
                   .mean_depth = double(profile.parts.front().size()) - (set.set.size() - set.set.heads.size()) / 2.0});
  }
  return out;
}

std::vector<double> oracle_skip(const LayerProfile& profile, const SkipTrials& trials, double risk) {
  std::vector<const Ablation*> all;
  for (const auto& part : profile.parts) {
    for (const Ablation& a : part) all.push_back(&a);
  }
  for (const Ablation& a : trials.sets) all.push_back(&a);
  std::stable_sort(all.begin(), all.end(), [](const Ablation* a, const Ablation* b) { return a->saved > b->saved; });
  std::vector<double> read(profile.n_groups);
  std::vector<int64_t> n(profile.n_groups);
  const size_t n_texts = common_texts(profile, all);
  for (size_t t = 0; t < n_texts; ++t) {
    const auto group = size_t(profile.texts[t]->group);
    for (size_t p = 0; p < size_t(profile.texts[t]->n_compared()); ++p) {
      const auto largest =
          std::find_if(all.begin(), all.end(), [&](const Ablation* a) { return a->losses[t][p] <= risk; });
      read[group] += 1 - (largest != all.end() ? (*largest)->saved : 0);
      ++n[group];
    }
  }
  for (size_t g = 0; g < read.size(); ++g) read[g] = n[g] > 0 ? read[g] / double(n[g]) : 1;
  return read;
}

}  // namespace fathom
