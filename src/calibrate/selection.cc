// Fixed sequences: who is tested, at which share of delta, and what the report is told.
#include "fathom/calibrate/selection.h"

#include <fmt/format.h>

#include <numeric>

namespace fathom {
namespace {

Result<void> check(const LossTable& table) {
  const size_t n_groups = table.groups.size();
  if (n_groups == 0) return Error{ErrorCode::argument, "no groups: name at least one"};
  for (size_t c = 0; c < table.losses.size(); ++c) {
    if (table.losses[c].size() != n_groups) {
      return Error{ErrorCode::shape, fmt::format("candidate {}: losses of {} groups of {}: give each group's, if empty",
                                                 c, table.losses[c].size(), n_groups)};
    }
    for (size_t g = 0; g < n_groups; ++g) {
      if (table.losses[c][g].size() == table.losses[0][g].size()) continue;
      return Error{ErrorCode::shape,
                   fmt::format("candidate {}, group {}: {} pieces, but {} for candidate 0: run every "
                               "candidate on the same pieces",
                               c, table.groups[g], table.losses[c][g].size(), table.losses[0][g].size())};
    }
  }
  return {};
}

Result<void> check(const CertifyOptions& options) {
  if (!(options.confidence > 0 && options.confidence < 1)) {
    return Error{ErrorCode::argument,
                 fmt::format("confidence {}: give a number between 0 and 1, such as 0.95", options.confidence)};
  }
  if (options.risks.empty()) return Error{ErrorCode::argument, "no risk levels: give at least one, such as 0.02"};
  for (const double risk : options.risks) {
    if (risk > 0 && risk < 1) continue;
    return Error{ErrorCode::argument, fmt::format("risk {}: give a number between 0 and 1, such as 0.02", risk)};
  }
  return {};
}

Error named(const LossTable& table, size_t candidate, size_t group, const Error& error) {
  return {error.code, fmt::format("candidate {}, group {}: {}", candidate, table.groups[group], error.message)};
}

Result<std::vector<GroupBound>> bounds_of(const LossTable& table, int32_t candidate, std::span<const int32_t> groups,
                                          const Choice& choice, Bound bound) {
  std::vector<GroupBound> bounds;
  if (candidate < 0 || static_cast<size_t>(candidate) >= table.losses.size()) return bounds;
  for (const int32_t group : groups) {
    const std::vector<float>& losses = table.losses[static_cast<size_t>(candidate)][static_cast<size_t>(group)];
    GroupBound of = {.group = group, .n = static_cast<int64_t>(losses.size())};
    auto upper = mean_upper(losses, choice.delta, bound);
    auto p_value = mean_p_value(losses, choice.risk, bound);
    if (!upper || !p_value) {
      return named(table, static_cast<size_t>(candidate), static_cast<size_t>(group),
                   (upper ? p_value : upper).error());
    }
    of.upper = *upper;
    of.p_value = *p_value;
    if (of.n > 0) of.mean = std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(of.n);
    of.needed = pieces_needed(choice.risk, choice.delta, of.mean, bound);
    bounds.push_back(of);
  }
  return bounds;
}

Result<Choice> choose(const LossTable& table, std::span<const int32_t> groups, Choice choice, Bound bound) {
  FATHOM_TRY(choice.candidate, last_certified(table, groups, choice.risk, choice.delta, bound));
  FATHOM_TRY(choice.passed, bounds_of(table, choice.candidate, groups, choice, bound));
  FATHOM_TRY(choice.refused, bounds_of(table, choice.candidate + 1, groups, choice, bound));
  return choice;
}

}  // namespace

Result<int32_t> last_certified(const LossTable& table, std::span<const int32_t> groups, double risk, double delta,
                               Bound bound) {
  FATHOM_TRY(check(table));
  if (groups.empty()) return Error{ErrorCode::argument, "no groups to certify: name at least one"};
  for (const int32_t group : groups) {
    if (group >= 0 && static_cast<size_t>(group) < table.groups.size()) continue;
    return Error{ErrorCode::argument, fmt::format("group {} of {}: give an index", group, table.groups.size())};
  }
  if (!(delta > 0 && delta < 1)) {
    return Error{ErrorCode::argument, fmt::format("delta {}: give a number between 0 and 1", delta)};
  }
  for (size_t candidate = 0; candidate < table.losses.size(); ++candidate) {
    for (const int32_t group : groups) {
      const auto g = static_cast<size_t>(group);
      const auto p_value = mean_p_value(table.losses[candidate][g], risk, bound);
      if (!p_value) return named(table, candidate, g, p_value.error());
      if (*p_value > delta) return static_cast<int32_t>(candidate) - 1;
    }
  }
  return static_cast<int32_t>(table.losses.size()) - 1;
}

Result<std::vector<Choice>> certify_for_all(const LossTable& table, const CertifyOptions& options) {
  FATHOM_TRY(check(options));
  std::vector<int32_t> groups(table.groups.size());
  std::iota(groups.begin(), groups.end(), 0);
  const double delta = (1 - options.confidence) / static_cast<double>(options.risks.size());
  std::vector<Choice> choices;
  for (const double risk : options.risks) {
    FATHOM_TRY(Choice choice, choose(table, groups, {.risk = risk, .delta = delta}, options.bound));
    choices.push_back(std::move(choice));
  }
  return choices;
}

Result<std::vector<Choice>> certify_each(const LossTable& table, const CertifyOptions& options) {
  FATHOM_TRY(check(options));
  FATHOM_TRY(check(table));
  const double delta = (1 - options.confidence) / static_cast<double>(options.risks.size() * table.groups.size());
  std::vector<Choice> choices;
  for (const double risk : options.risks) {
    for (int32_t group = 0; group < static_cast<int32_t>(table.groups.size()); ++group) {
      FATHOM_TRY(Choice choice,
                 choose(table, {&group, 1}, {.risk = risk, .delta = delta, .group = group}, options.bound));
      choices.push_back(std::move(choice));
    }
  }
  return choices;
}

}  // namespace fathom
