// The order comes from texts to choose by, the tests from others; a text is a loss of 1 where it is under the cosine.
#include "src/calibrate/cosine_sequence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fathom/calibrate/bound.h"

namespace fathom {
namespace {

constexpr double kSure = 0.005;  // chance that a policy that keeps the risk is given up

double worst_share(const EmbeddingTrial& trial, const CosineRule& rule) {
  double worst = 0;
  for (const auto& cosines : trial.cosines) {
    if (!cosines.empty()) worst = std::max(worst, double(rule.below(cosines)) / double(cosines.size()));
  }
  return worst;
}

bool has_chance(const EmbeddingTrial& trial, std::span<const int64_t> n_certify, const CosineRule& rule) {
  if (trial.ended || !(trial.work < 1)) return false;
  for (size_t g = 0; g < trial.cosines.size(); ++g) {
    const auto& cosines = trial.cosines[g];
    const double share = cosines.empty() ? 0 : double(rule.below(cosines)) / double(cosines.size());
    const auto expected = static_cast<int64_t>(std::floor(share * double(n_certify[g])));
    if (binomial_p_value(expected, n_certify[g], rule.risk) > rule.delta()) return false;
  }
  return true;
}

}  // namespace

int64_t CosineRule::below(std::span<const float> cosines) const {
  return std::count_if(cosines.begin(), cosines.end(), [&](float c) { return !keeps(c); });
}

bool without_chance(const CosinesByGroup& cosines, const CosineRule& rule) {
  return std::any_of(cosines.begin(), cosines.end(), [&](const std::vector<float>& of) {
    const auto n = std::ssize(of);
    const int64_t kept = n - rule.below(of);
    // P(Bin(n, risk) >= below) = P(Bin(n, 1 - risk) <= kept)
    return kept < n && binomial_p_value(kept, n, 1 - rule.risk) < kSure;
  });
}

double EmbeddingTrial::kept_by_all_but(double share) const {
  double least = 1;
  for (std::vector<float> sorted : cosines) {
    if (sorted.empty()) continue;
    const auto at = std::min(sorted.size() - 1, static_cast<size_t>(share * double(sorted.size())));
    std::nth_element(sorted.begin(), sorted.begin() + std::ptrdiff_t(at), sorted.end());
    least = std::min(least, double{sorted[at]});
  }
  return least;
}

std::vector<int32_t> safest_to_cheapest(std::span<const EmbeddingTrial> trials, std::span<const int64_t> n_certify,
                                        const CosineRule& rule) {
  struct Place {
    int32_t trial;
    double share, kept, work;
  };
  std::vector<Place> places;
  for (size_t i = 0; i < trials.size(); ++i) {
    if (!has_chance(trials[i], n_certify, rule)) continue;
    places.push_back(
        {static_cast<int32_t>(i), worst_share(trials[i], rule), trials[i].kept_by_all_but(rule.risk), trials[i].work});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    if (a.share != b.share) return a.share < b.share;
    if (a.kept != b.kept) return a.kept > b.kept;
    return a.work != b.work ? a.work < b.work : a.trial < b.trial;
  });
  std::vector<int32_t> front;
  double work = 1;
  for (const Place& place : places) {
    if (place.work >= work) continue;
    work = place.work;
    front.push_back(place.trial);
  }
  if (front.size() <= kMostTested) return front;
  std::vector<int32_t> thinned;  // even steps, both ends among them
  for (size_t i = 0; i < kMostTested; ++i) thinned.push_back(front[i * (front.size() - 1) / (kMostTested - 1)]);
  return thinned;
}

Result<Choice> certify_in_order(const std::vector<std::string>& groups, int32_t candidates, const CosineRule& rule,
                                const std::function<Result<CosinesByGroup>(int32_t candidate)>& run) {
  LossTable table{.groups = groups, .losses = {}};
  std::vector<int32_t> all(groups.size());
  std::iota(all.begin(), all.end(), 0);
  for (int32_t candidate = 0; candidate < candidates; ++candidate) {
    FATHOM_TRY(const CosinesByGroup cosines, run(candidate));
    auto& losses = table.losses.emplace_back();
    for (const std::vector<float>& of : cosines) {
      auto& group = losses.emplace_back();
      for (const float c : of) group.push_back(rule.keeps(c) ? 0.0f : 1.0f);
    }
    FATHOM_TRY(const int32_t last, last_certified(table, all, rule.risk, rule.delta(), Bound::binomial));
    if (last < candidate) break;
  }
  FATHOM_TRY(const std::vector<Choice> choices,
             certify_for_all(table, {.risks = {rule.risk}, .confidence = rule.confidence, .bound = Bound::binomial}));
  return choices.front();
}

}  // namespace fathom
