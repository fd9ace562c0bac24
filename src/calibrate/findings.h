// Findings: all that a calibration learned, before it is put into words. Next in the flow: src/calibrate/calibrate.cc.
#pragma once

#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/attribution.h"
#include "src/calibrate/exit_fitting.h"
#include "src/calibrate/family.h"
#include "src/calibrate/fill_trial.h"
#include "src/calibrate/routing.h"
#include "src/calibrate/safeguards.h"
#include "src/calibrate/settings.h"
#include "src/calibrate/signal_record.h"
#include "src/calibrate/skip_trials.h"
#include "src/calibrate/speeds.h"

namespace fathom {

struct Findings {
  const Model& model;
  const Pieces& pieces;
  const CalibrateOptions& options;
  std::vector<std::string> groups;
  std::vector<const PieceText*> reported;  // texts of Split::report
  FittedRecord fitted;
  Proposal proposal;
  std::vector<Proposal> own_proposals;  // [groups] for the proposal's exits; empty: none are asked for
  LayerProfile profile;                 // on pieces of Split::fit
  SkipTrials skips;
  std::vector<double> oracle_skip;  // [groups] the least that sets of parts could read
  RoutingRecord routing;
  RouterJudgement judged;                  // of its routers, on the report's pieces
  FamilyForecasts forecasts;               // by which one family is certified
  FillRecord fills;                        // for the proposal's exits, where these are certified
  std::vector<CalibratedSetting> instead;  // of exits: skips or routes that are certified; empty: exits are
  ExitTrials trials;                       // on the report's pieces, all fitted exits
  SignalRecord signals;                    // the same, where exits were asked
  int32_t shown = 0;                       // of the settings: the one that depths and passages are of
  SettingRun held_out;                     // of it, on the report's pieces
  std::vector<Attribution> looked;         // [reported] of it, on the pieces that are shown; nothing in it: not shown
  Speeds speeds;
  std::vector<SafeguardEffect> safeguards;  // of the setting that is shown, which stands first

  /// The first piece of each group is shown token by token.
  bool shows(size_t text) const {
    for (size_t t = 0; t < text; ++t) {
      if (reported[t]->group == reported[text]->group) return false;
    }
    return true;
  }
  int32_t piece_tokens() const { return pieces.piece_tokens; }
};

/// Per exit and group, on the report's pieces.
Result<std::vector<ExitQuality>> exit_quality(const Findings& findings);

/// The section "report".
std::string report_json(const Findings& findings, const Calibration& calibration);

}  // namespace fathom
