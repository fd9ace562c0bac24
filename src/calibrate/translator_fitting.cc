// Fitting translators: closed forms from sums, hidden layers from kept rows.
#include "src/calibrate/translator_fitting.h"

#include <algorithm>
#include <optional>

#include "fathom/calibrate/mlp.h"
#include "fathom/calibrate/ridge.h"

namespace fathom {
namespace {

constexpr int32_t kRankShare = 8;  // a low rank is this part of the width
constexpr int32_t kHidden = 256;   // numbers of a hidden layer, at most
constexpr int32_t kWhole = 32;     // ranks and hidden layers are whole multiples of it: a block of a product
constexpr MlpOptions kTraining = {.hidden = kHidden, .max_epochs = 12, .patience = 3};

FittedExit exit_of(const AffineTranslator& fitted, int32_t layer) {
  const auto d = static_cast<size_t>(fitted.width), r = static_cast<size_t>(fitted.rank);
  FittedExit exit{.layer = layer,
                  .translator = turned(fitted.down, d),
                  .bias = fitted.bias,
                  .temperatures = {},
                  .probe = {},
                  .agreement = {}};
  if (r > 0) exit.up = turned(fitted.up, r);
  return exit;
}

FittedExit exit_of(const MlpTranslator& fitted, int32_t layer) {
  FittedExit exit = exit_of(fitted.base, layer);
  const auto d = static_cast<size_t>(fitted.base.width), h = static_cast<size_t>(fitted.hidden);
  exit.hidden = {.first = turned(fitted.w1, d), .offset = fitted.b1, .second = turned(fitted.w2, h)};
  for (size_t i = 0; i < d; ++i) exit.bias[i] += fitted.b2[i];
  return exit;
}

int32_t whole(int32_t n) { return n / kWhole * kWhole; }

Result<TranslatorKinds> fit_at(const StateCollector& states, size_t exit, int32_t narrowest) {
  const int32_t layer = states.layers()[exit];
  const PairMoments fitted = states.moments(exit, false), held_out = states.moments(exit, true);
  FATHOM_TRY(const RidgeChoice ridge, choose_ridge(fitted, held_out, kRidgeLambdas, RidgePenalty::by_variance));
  const auto width = static_cast<int32_t>(fitted.mean_x.size());
  TranslatorKinds kinds;
  kinds.fill(exit_of(ridge.translator, layer));
  if (const int32_t rank = low_rank(width); rank > 0 && rank <= narrowest) {
    FATHOM_TRY(const AffineTranslator low, solve_low_rank(fitted, rank, ridge.options));
    kinds[int(TranslatorKind::low_rank)] = exit_of(low, layer);
  }
  MlpOptions training = kTraining;
  training.hidden = std::min({kHidden, whole(width), whole(narrowest)});
  if (training.hidden == 0) return kinds;
  FATHOM_TRY(const MlpFit fit, fit_mlp(ridge.translator, states.kept(exit, false), states.kept(exit, true), training));
  if (fit.best_epoch > 0) kinds[int(TranslatorKind::hidden)] = exit_of(fit.translator, layer);
  return kinds;
}

}  // namespace

int32_t low_rank(int32_t width) {
  const int32_t rank = std::max(kWhole, whole(width / kRankShare));
  return 2 * rank < width ? rank : 0;
}

std::vector<float> turned(std::span<const float> values, size_t rows) {
  const size_t cols = values.size() / rows;
  std::vector<float> out(values.size());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) out[c * rows + r] = values[r * cols + c];
  }
  return out;
}

std::string_view name(TranslatorKind kind) {
  constexpr std::string_view kNames[kTranslatorKinds] = {"low rank", "full rank", "hidden layer"};
  return kNames[static_cast<int>(kind)];
}

TranslatorKind kind_of(const FittedExit& exit) {
  if (!exit.hidden.offset.empty()) return TranslatorKind::hidden;
  return exit.up.empty() ? TranslatorKind::full_rank : TranslatorKind::low_rank;
}

Result<std::vector<TranslatorKinds>> fit_translators(const StateCollector& states, int32_t narrowest, ThreadPool& pool,
                                                     Progress& progress) {
  const int64_t n = std::ssize(states.layers());
  std::vector<std::optional<Result<TranslatorKinds>>> found(static_cast<size_t>(n));
  for (int64_t from = 0; from < n; from += pool.threads()) {
    const int64_t share = std::min<int64_t>(pool.threads(), n - from);
    pool.run(share, [&](int64_t i) {
      found[static_cast<size_t>(from + i)].emplace(fit_at(states, static_cast<size_t>(from + i), narrowest));
    });
    FATHOM_TRY(progress.at(double(from + share) / double(n)));
  }
  std::vector<TranslatorKinds> kinds;
  for (std::optional<Result<TranslatorKinds>>& one : found) {
    FATHOM_TRY(TranslatorKinds of, std::move(*one));
    kinds.push_back(std::move(of));
  }
  return kinds;
}

TranslatorKind worth_most(std::span<const double, kTranslatorKinds> agreement, double saved,
                          std::span<const double, kTranslatorKinds> bytes) {
  size_t best = 0;
  const auto worth = [&](size_t i) { return agreement[i] * saved - bytes[i]; };
  for (size_t i = 1; i < kTranslatorKinds; ++i) {
    if (worth(i) > worth(best) || (worth(i) == worth(best) && bytes[i] < bytes[best])) best = i;
  }
  return static_cast<TranslatorKind>(best);
}

}  // namespace fathom
