// ExitTrials: what every exit would have said at every place of some pieces, from states at full depth, and what a
// policy would have made of it. Next in the flow: src/calibrate/certify_settings.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/policy/policy.h"
#include "fathom/text/token_class.h"
#include "src/calibrate/candidates.h"
#include "src/calibrate/exit_watcher.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"
#include "src/calibrate/reference.h"
#include "src/calibrate/row_cost.h"

namespace fathom {

/// One exit's answer at one place.
struct ExitAnswer {
  int32_t token = -1;
  float score = 0;         // of the exit's probe, at the temperature of all groups
  float own_score = 0;     // at the temperature of the text's group
  float listed_score = 0;  // of the shortlist's logits alone; the score where there is no list
  float confidence = 0, margin = 0, entropy = 0;
  float loss = 1;      // of leaving here, by the runner's loss, at the temperature of all groups
  float own_loss = 1;  // at the temperature of the text's group
};

/// One piece: what full depth says at the places that were asked, and what each exit does.
struct TextTrial {
  int32_t group = 0;
  std::vector<int32_t> tokens;      // [places] behind which the predictions are
  std::vector<int32_t> truth;       // [places]
  std::vector<float> last_entropy;  // [places] of the prediction before; NaN where that was not asked
  std::vector<float> probability;   // [places] of full depth's token
  std::vector<ExitAnswer> answers;  // [places, exits]
};

template <class P>
void pack(P& p, TextTrial& trial) {
  p(trial.group), p(trial.tokens), p(trial.truth), p(trial.last_entropy), p(trial.probability), p(trial.answers);
}

struct ExitTrials {
  std::vector<int32_t> layers;  // [exits]
  std::vector<TextTrial> texts;

  const ExitAnswer& answer(const TextTrial& text, size_t place, size_t exit) const {
    return text.answers[place * layers.size() + exit];
  }
  /// Whether the lists have the lengths that go with one another and with these layers.
  bool consistent(std::span<const int32_t> of_layers) const;
};

template <class P>
void pack(P& p, ExitTrials& trials) {
  p(trials.layers), p(trials.texts);
}

/// Runs pieces at full depth and asks every exit. The runner's session uses the exits, for all groups together.
/// Where the runner's loss compares logits, a second session runs ahead by a step.
///   texts    to run, in this order
///   asked    [texts] places, rising; a text without one is not run; no list at all: every place of every text
///   cost     a pass over the texts, and a head at each exit for each place that is asked
Result<ExitTrials> try_exits(PieceRunner& runner, std::span<const PieceText* const> texts,
                             std::span<const int32_t> layers, Progress& progress,
                             std::span<const std::vector<int32_t>> asked = {});

/// What a threshold makes of trials: rows leave at the first of `exits` whose agreement reaches it.
struct Forecast {
  std::vector<double> losses;  // [groups] of rows, mean over pieces
  double worst = 0;            // of them
  double time = 1;             // of a row, in passes at full depth
  double mean_depth = 0;       // layers
};

/// The agreement that exits give their answers.
struct TrialAgreement {
  std::vector<std::vector<float>> whole;   // [texts][places, exits]
  std::vector<std::vector<float>> listed;  // the same, by the shortlist
};
TrialAgreement agreement_of(const ExitTrials& trials, std::span<const AgreementMap> maps);

Forecast forecast(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups, uint32_t exits,
                  float threshold, const RowCost& cost);

/// Exits (a set of bits) and thresholds, safest first, by which rows are expected to be fastest at the first risk; with
/// thresholds for the others.
struct Proposal {
  uint32_t exits = 0;
  std::vector<float> thresholds;
  std::vector<Forecast> forecasts;       // [thresholds]
  std::vector<TokenClass> guarded = {};  // rows of these classes run at full depth

  int32_t listed = 0;  // tokens that checks look at first; 0: the whole head

  double fastest() const;  // of the forecasts
  /// The index of the fastest that is forecast to keep a risk; -1: none is.
  int32_t best_at(double risk) const;
  /// What runs with a threshold, in text form.
  std::string policy(float threshold) const;
};
Proposal propose(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups,
                 std::span<const double> risks, int32_t n_settings, const RowCost& cost);

/// Thresholds for given exits: for each level of risk those around the boldest that is forecast to keep it.
///   risks    [levels]
///   n_settings   of one level
Proposal thresholds_for(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups, uint32_t exits,
                        std::span<const double> risks, int32_t n_settings, const RowCost& cost);

/// The safest threshold at which a risk is forecast to run out; the boldest where it never does.
float threshold_over(const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups, uint32_t exits,
                     double risk, const RowCost& cost);

/// The same of an exit that knows: each row leaves at the first layer where it loses at most `risk`, unchecked; where
/// losses are of tokens, the first of which the answer is full depth's.
///   returns  [groups] time of a row with one head
std::vector<double> oracle_time(const ExitTrials& trials, size_t n_groups, double risk, const RowCost& cost);

}  // namespace fathom
