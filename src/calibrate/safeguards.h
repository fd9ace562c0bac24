// Safeguards: classes of tokens behind which early answers err more often, and what limits do for texts that a policy
// writes itself. Next in the flow: src/calibrate/certificates.h.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/exit_trials.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// Classes of which the rows that leave err at least twice as often as all that leave, beyond chance, and which are few
/// of all rows.
///   classes   [vocab]
std::vector<TokenClass> risky_classes(const ExitTrials& trials, const TrialAgreement& agreement, uint32_t exits,
                                      float threshold, std::span<const TokenClass> classes);

/// The same agreement, but for rows of these classes, which leave nowhere.
TrialAgreement guarded(const ExitTrials& trials, TrialAgreement agreement, std::span<const TokenClass> kept,
                       std::span<const TokenClass> classes);

/// The proposal with full depth for classes that are risky where the first risk runs out, where that is forecast to be
/// faster at the first risk: what they do not spend of it, bolder thresholds may. Else the proposal as it is.
///   n_settings   of one level
Proposal with_safeguards(Proposal plain, const ExitTrials& trials, const TrialAgreement& agreement, size_t n_groups,
                         std::span<const double> risks, int32_t n_settings, const RowCost& cost,
                         std::span<const TokenClass> classes);

/// What a policy's own texts are beside full depth's.
struct SafeguardEffect {
  std::string policy;
  int64_t n = 0, equal = 0;            // texts; wholly the same
  double median_first_difference = 0;  // tokens before it; equal ones count whole
  double mean_depth = 0;               // layers
};

/// Texts written behind the beginnings of a few pieces: by the policy, by it without its safeguards where it has any,
/// and with one more safeguard each.
Result<std::vector<SafeguardEffect>> try_safeguards(const Model& model, std::span<const PieceText* const> texts,
                                                    const std::string& policy, const SessionParts& parts,
                                                    const CalibrateOptions& options, Progress& progress);

}  // namespace fathom
