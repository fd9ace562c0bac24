// Documents are drawn with replacement from a pool, whose means are the truth that each selection is held against.
#include "fathom/calibrate/recalibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>

namespace fathom {
namespace {

using Row = std::vector<float>;    // [candidates] what one unit lost
using Units = std::vector<Row>;    // that come with one document
using Draws = std::vector<Units>;  // of a group

Row mean_of(const Units& pieces) {
  Row mean(pieces.front().size());
  for (size_t c = 0; c < mean.size(); ++c) {
    double sum = 0;
    for (const Row& piece : pieces) sum += piece[c];
    mean[c] = static_cast<float>(sum / static_cast<double>(pieces.size()));
  }
  return mean;
}

Result<std::vector<Draws>> draws_of(const LossPool& pool, Unit unit) {
  std::vector<std::map<int32_t, Units>> documents(pool.groups.size());
  for (size_t i = 0; i < pool.pieces.size(); ++i) {
    const PoolPiece& piece = pool.pieces[i];
    if (piece.group < 0 || static_cast<size_t>(piece.group) >= pool.groups.size()) {
      return Error{ErrorCode::argument,
                   fmt::format("piece {}: group {} of {}: give an index", i, piece.group, pool.groups.size())};
    }
    if (piece.losses.size() != pool.pieces[0].losses.size()) {
      return Error{ErrorCode::shape, fmt::format("piece {}: losses of {} candidates, but {} for piece 0: run every "
                                                 "candidate on every piece",
                                                 i, piece.losses.size(), pool.pieces[0].losses.size())};
    }
    documents[static_cast<size_t>(piece.group)][piece.document].push_back(piece.losses);
  }
  std::vector<Draws> draws(pool.groups.size());
  for (size_t g = 0; g < draws.size(); ++g) {
    for (auto& [number, pieces] : documents[g]) {
      draws[g].push_back(unit == Unit::document ? Units{mean_of(pieces)} : std::move(pieces));
    }
  }
  return draws;
}

LossTable empty_table(const LossPool& pool) {
  const size_t n_candidates = pool.pieces.empty() ? 0 : pool.pieces[0].losses.size();
  return {pool.groups, std::vector<std::vector<std::vector<float>>>(
                           n_candidates, std::vector<std::vector<float>>(pool.groups.size()))};
}

void append(LossTable& table, size_t group, const Units& draw) {
  for (const Row& unit : draw) {
    for (size_t c = 0; c < unit.size(); ++c) table.losses[c][group].push_back(unit[c]);
  }
}

LossTable all_of(const LossPool& pool, const std::vector<Draws>& draws) {
  LossTable table = empty_table(pool);
  for (size_t g = 0; g < draws.size(); ++g) {
    for (const Units& draw : draws[g]) append(table, g, draw);
  }
  return table;
}

double mean_of(const std::vector<float>& losses) {
  double sum = 0;
  for (const float loss : losses) sum += loss;
  return losses.empty() ? 0 : sum / static_cast<double>(losses.size());
}

// [candidates][groups]
std::vector<std::vector<double>> means_of(const LossTable& table) {
  std::vector<std::vector<double>> means(table.losses.size());
  for (size_t c = 0; c < means.size(); ++c) {
    for (const std::vector<float>& losses : table.losses[c]) means[c].push_back(mean_of(losses));
  }
  return means;
}

Result<std::vector<Choice>> select(const LossTable& table, const RecalibrationOptions& options) {
  return options.own_thresholds ? certify_each(table, options.certify) : certify_for_all(table, options.certify);
}

void count(Recalibration& result, const std::vector<Choice>& choices, const std::vector<std::vector<double>>& truth) {
  std::vector<bool> broken(result.broken_in.size(), false);
  bool certified = true;
  for (const Choice& choice : choices) {
    certified = certified && choice.certified();
    for (const GroupBound& bound : choice.passed) {
      const auto c = static_cast<size_t>(choice.candidate), g = static_cast<size_t>(bound.group);
      if (truth[c][g] > choice.risk) broken[g] = true;
    }
  }
  result.certified += certified;
  result.broken += std::find(broken.begin(), broken.end(), true) != broken.end();
  for (size_t g = 0; g < broken.size(); ++g) result.broken_in[g] += broken[g];
}

}  // namespace

Result<LossTable> table_of(const LossPool& pool, Unit unit) {
  FATHOM_TRY(const std::vector<Draws> draws, draws_of(pool, unit));
  return all_of(pool, draws);
}

int32_t allowed_failures(int32_t runs, double delta) {
  int32_t k = 0;
  while (k < runs && binomial_p_value(k, runs, delta) < 0.999) ++k;
  return k;
}

bool Recalibration::kept() const {
  for (size_t g = 0; g < broken_in.size(); ++g) {
    if (broken_in[g] > allowed_in[g]) return false;
  }
  return broken <= allowed;
}

Result<Recalibration> recalibrate(const LossPool& pool, const RecalibrationOptions& options) {
  if (options.runs < 1) return Error{ErrorCode::argument, fmt::format("{} runs: give at least 1", options.runs)};
  if (options.n_drawn < 0) {
    return Error{ErrorCode::argument, fmt::format("n_drawn {}: give 0 or more", options.n_drawn)};
  }
  FATHOM_TRY(const std::vector<Draws> draws, draws_of(pool, options.unit));
  const LossTable whole = all_of(pool, draws);
  FATHOM_TRY(select(whole, options));  // refuses what any run would
  const std::vector<std::vector<double>> truth = means_of(whole);
  const size_t n_groups = pool.groups.size();
  const double delta = 1 - options.certify.confidence;
  const double of_group = options.own_thresholds ? delta / static_cast<double>(n_groups) : delta;
  Recalibration result = {.runs = options.runs, .allowed = allowed_failures(options.runs, delta)};
  result.broken_in.resize(n_groups);
  result.allowed_in.assign(n_groups, allowed_failures(options.runs, of_group));

  std::mt19937_64 random(options.seed);
  for (int32_t run = 0; run < options.runs; ++run) {
    LossTable table = empty_table(pool);
    for (size_t g = 0; g < n_groups; ++g) {
      if (draws[g].empty()) continue;
      const size_t n = options.n_drawn > 0 ? static_cast<size_t>(options.n_drawn) : draws[g].size();
      for (size_t i = 0; i < n; ++i) append(table, g, draws[g][random() % draws[g].size()]);
    }
    FATHOM_TRY(const std::vector<Choice> choices, select(table, options));
    count(result, choices, truth);
  }
  return result;
}

Result<std::vector<DrawnAgain>> draw_again(const LossPool& pool, const CertifyOptions& options) {
  constexpr double kJustBelow = 0.999;
  FATHOM_TRY(Recalibration promised, recalibrate(pool, {.certify = options}));
  std::vector<DrawnAgain> all = {{.risk = options.risks.front(), .promised = true, .outcome = std::move(promised)}};
  FATHOM_TRY(const LossTable table, table_of(pool));
  const std::vector<std::vector<double>> means = means_of(table);
  const double boldest = means.back().empty() ? 0 : *std::max_element(means.back().begin(), means.back().end());
  if (boldest > 0) {
    CertifyOptions hardest = options;
    hardest.risks = {kJustBelow * boldest};
    FATHOM_TRY(Recalibration outcome, recalibrate(pool, {.certify = hardest}));
    all.push_back({.risk = hardest.risks.front(), .promised = false, .outcome = std::move(outcome)});
  }
  return all;
}

}  // namespace fathom
