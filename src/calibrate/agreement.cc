// AgreementMap: Platt's sigmoid, the choice between it and isotonic regression, and reliability.
#include "fathom/calibrate/agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "src/calibrate/newton.h"

namespace fathom {

namespace {

Result<void> check_scored(std::span<const float> scores, std::span<const float> agreed) {
  if (scores.empty()) return Error{ErrorCode::argument, "scores: no rows: pass some"};
  FATHOM_TRY(check_rows("scores", scores, 1));
  return check_shares("agreed", agreed, scores.size());
}

}  // namespace

float AgreementMap::operator()(float score) const noexcept {
  if (std::isnan(score)) return 0;
  if (n_knots == 0) {
    if (slope == 0) return static_cast<float>(sigmoid(offset));  // an infinite score times 0 is no number
    return static_cast<float>(sigmoid(double{slope} * score + offset));
  }
  const auto first = scores.begin(), last = first + n_knots;
  const auto above = std::upper_bound(first, last, score);
  if (above == first) return probability[0];
  const auto i = static_cast<size_t>(above - first);
  if (above == last) return probability[i - 1];
  const double share = (double{score} - scores[i - 1]) / (double{scores[i]} - scores[i - 1]);
  return static_cast<float>(probability[i - 1] + share * (double{probability[i]} - probability[i - 1]));
}

std::vector<float> AgreementMap::to_floats() const {
  if (n_knots == 0) return {0, slope, offset};
  std::vector<float> values = {static_cast<float>(n_knots)};
  values.insert(values.end(), scores.begin(), scores.begin() + n_knots);
  values.insert(values.end(), probability.begin(), probability.begin() + n_knots);
  return values;
}

Result<AgreementMap> AgreementMap::from_floats(std::span<const float> values) {
  const auto bad = [&](const char* what) {
    return Error{ErrorCode::format,
                 fmt::format("agreement map of {} numbers: {}: calibrate again", values.size(), what)};
  };
  if (values.empty()) return bad("no count of knots");
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    return bad("one is not finite");
  AgreementMap map;
  if (values[0] == 0) {
    if (values.size() != 3) return bad("a sigmoid has 3");
    if (values[1] < 0) return bad("the slope is below 0");
    map.slope = values[1];
    map.offset = values[2];
    return map;
  }
  if (!(values[0] >= 1 && values[0] <= kMaxKnots)) return bad("knots are 1 to 32");
  map.n_knots = static_cast<int32_t>(values[0]);
  const auto n = static_cast<size_t>(map.n_knots);
  if (static_cast<float>(map.n_knots) != values[0] || values.size() != 1 + 2 * n)
    return bad("the count of knots is wrong");
  for (size_t i = 0; i < n; ++i) {
    map.scores[i] = values[1 + i];
    map.probability[i] = values[1 + n + i];
    if (map.probability[i] < 0 || map.probability[i] > 1) return bad("a probability outside [0, 1]");
    if (i > 0 && !(map.scores[i] > map.scores[i - 1])) return bad("scores that do not rise");
    if (i > 0 && map.probability[i] < map.probability[i - 1]) return bad("probabilities that fall");
  }
  return map;
}

Result<AgreementMap> fit_platt(std::span<const float> scores, std::span<const float> agreed) {
  FATHOM_TRY(check_scored(scores, agreed));
  const double n = static_cast<double>(agreed.size());
  const double ones = std::accumulate(agreed.begin(), agreed.end(), 0.0), zeros = n - ones;
  const double high = (ones + 1) / (ones + 2), low = 1 / (zeros + 2);
  std::vector<double> targets(agreed.size());
  for (size_t i = 0; i < targets.size(); ++i) targets[i] = agreed[i] * high + (1.0 - agreed[i]) * low;
  const LogisticProblem problem = standardised(scores, 1, targets, 0);
  const LogisticSolution solution = minimise(problem);
  if (!solution.converged) {
    return Error{ErrorCode::argument, fmt::format("fit_platt: gradient {:.2g} after {} steps: pass more rows",
                                                  solution.gradient, solution.steps)};
  }
  AgreementMap map;
  map.slope = static_cast<float>(solution.weights[0] * problem.inverse[0]);
  if (map.slope > 0) {
    map.offset = static_cast<float>(solution.weights[1] - double{map.slope} * problem.mean[0]);
    return map;
  }
  // The loss is convex, so the best slope that does not fall is 0; its offset gives the mean target.
  const double share = (ones * high + zeros * low) / n;
  map.slope = 0;
  map.offset = static_cast<float>(std::log(share / (1 - share)));
  return map;
}

double log_loss(const AgreementMap& map, const ScoredRows& rows) {
  FATHOM_ASSERT(!rows.scores.empty() && rows.scores.size() == rows.agreed.size());
  double sum = 0;
  for (size_t i = 0; i < rows.scores.size(); ++i) {
    const double p = map(rows.scores[i]), agreed = rows.agreed[i];
    if (agreed > 0) sum -= agreed * std::log(p);
    if (agreed < 1) sum -= (1 - agreed) * std::log(1 - p);
  }
  return sum / static_cast<double>(rows.scores.size());
}

Result<AgreementMap> fit_agreement(const ScoredRows& training, const ScoredRows& held_out) {
  FATHOM_TRY(check_scored(held_out.scores, held_out.agreed));
  FATHOM_TRY(const AgreementMap platt, fit_platt(training.scores, training.agreed));
  FATHOM_TRY(const std::vector<IsotonicBlock> blocks, fit_isotonic(training.scores, training.agreed));
  const AgreementMap isotonic = to_agreement_map(blocks);
  return log_loss(isotonic, held_out) < log_loss(platt, held_out) ? isotonic : platt;
}

Result<Reliability> reliability(std::span<const float> p, std::span<const float> agreed, int32_t bins) {
  if (p.empty()) return Error{ErrorCode::argument, "p: no rows: pass some"};
  if (bins < 1) return Error{ErrorCode::argument, fmt::format("bins {}: pass 1 or more", bins)};
  FATHOM_TRY(check_shares("agreed", agreed, p.size()));
  Reliability result;
  result.bins.resize(static_cast<size_t>(bins));
  for (ReliabilityBin& bin : result.bins) bin = {.probability = 0, .agreed = 0, .n = 0};
  for (size_t i = 0; i < p.size(); ++i) {
    if (!(p[i] >= 0 && p[i] <= 1)) {
      return Error{ErrorCode::argument, fmt::format("p: row {} is {}: probabilities are in [0, 1]", i, p[i])};
    }
    ReliabilityBin& bin = result.bins[std::min(static_cast<size_t>(double{p[i]} * bins), result.bins.size() - 1)];
    bin.probability += p[i];
    bin.agreed += agreed[i];
    bin.n += 1;
  }
  for (size_t b = 0; b < result.bins.size(); ++b) {
    ReliabilityBin& bin = result.bins[b];
    if (bin.n == 0) {
      bin.probability = (static_cast<double>(b) + 0.5) / bins;
      bin.agreed = std::numeric_limits<double>::quiet_NaN();
      continue;
    }
    const double n = static_cast<double>(bin.n);
    bin.probability /= n;
    bin.agreed /= n;
    result.expected_error += n / static_cast<double>(p.size()) * std::abs(bin.agreed - bin.probability);
  }
  return result;
}

}  // namespace fathom
