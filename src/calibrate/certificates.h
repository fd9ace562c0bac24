// Certificates: one setting for all groups and settings of each group's own, at every level of risk, so that all hold
// together. Next in the flow: src/calibrate/speeds.h.
#pragma once

#include <memory>
#include <span>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/findings.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// Runs what was proposed on the pieces of Split::choose, and fills Calibration::settings, losses, choices, passed and
/// own. Half of 1 - confidence is spent on the setting for all, the other half on groups' own ones, in equal parts;
/// where none are asked for, all of it on the setting for all.
///   heads    those of the proposal's exits; the runner uses them for all groups together before and after
Result<void> certify(PieceRunner& runner, std::span<const PieceText* const> texts, const Findings& findings,
                     const std::shared_ptr<const ExitHeads>& heads, Calibration& calibration, Progress& progress);

/// What is missing where there is too little text to fit and certify on: no choice is certified, and each says how many
/// units it would take if nothing were lost.
///   texts    of Split::choose
///   returns  [risks]
Result<std::vector<Choice>> uncertified(std::span<const PieceText* const> texts, const Findings& findings);

}  // namespace fathom
