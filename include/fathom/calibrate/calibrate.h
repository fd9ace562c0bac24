// calibrate(): what a model and a machine have to give on the user's own text: exits are fitted, thresholds chosen,
// certified on text that nothing was fitted on, and measured. Next in the flow: calibrate/sidecar_file.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "fathom/calibrate/recalibration.h"
#include "fathom/calibrate/selection.h"
#include "fathom/head/exit_heads.h"
#include "fathom/head/routers.h"
#include "fathom/model/model.h"
#include "fathom/policy/policy.h"

namespace fathom {

/// What a report says of the run, and calibration itself does not know.
struct CalibrationOrigin {
  std::string model_name, model_file, sha256, machine, command, library;
};

/// Where a run keeps what is done, so that the same run, begun again, goes on from there.
struct CalibrateJournal {
  std::string path;      // a sidecar, written anew, whole, after each part; stays until the caller has what it wants of
                         // the run, and removes it; empty: nothing is kept
  std::string note;      // the caller's, in one line; journal_note() gives it back
  bool restart = false;  // what is there is not looked at
};

/// The note of a journal; empty: there is no journal at `path`, or none that can be read.
FATHOM_API std::string journal_note(const std::string& path);

struct CalibrateOptions {
  double risk = 0.02;        // mean loss that is allowed, in every group
  double temperature = 0;    // 0: tokens are greedy, and a place loses 1 where its token is not full depth's; above:
                             // they are drawn at this temperature, and a place loses the total variation between
                             // what full depth's and the policy's token is drawn from
  double confidence = 0.95;  // of all that is certified, together
  bool own_settings = true;  // groups get settings of their own beside the one for all; needs several groups
  int32_t n_exits = 6;       // layers for which exits are fitted, at most
  int32_t n_settings = 6;    // thresholds that are tried on the composed policy, at most
  int32_t measured_tokens = 48;  // written after each prompt on which speed is measured
  uint64_t seed = 1;
  int threads = 1;
  std::vector<double> more_risks = {};  // levels that are certified together with `risk`
  CalibrationOrigin origin = {};
  CalibrateJournal journal = {};
  /// What is being done and how far it is, 0..1; returning false ends the run with an error of code cancelled.
  bool (*on_progress)(void* context, std::string_view what, double done) = nullptr;
  void* context = nullptr;
};

/// A policy under trial.
struct CalibratedSetting {
  std::string policy;              // text form
  std::string mechanism = "exit";  // what decides: exit, skip, route
  float threshold = 0;             // agreement_at_least; utility_below; of a skip, the number of halves and heads
  double predicted = 0;            // mean loss of the worst group, from states at full depth
  double forecast = 1;             // bytes of a row over those of full depth, checks included
  double work = 1;                 // share of full depth's multiply-adds, checks included
  double mean_depth = 0;           // layers
  bool run = false;                // the composed policy was run with its own cache; what follows is known only then
  bool certified = false;
  std::vector<double> group_work;  // [groups] `work` on the pieces of each; NaN where it was not run there
  std::vector<GroupBound> bounds;  // [groups] on the pieces of Split::choose
  std::vector<double> held_out;    // [groups] mean loss on those of Split::report; empty: not run
};

/// Tokens a second of one policy over those of another, in one run by turns.
struct SpeedRatio {
  double ratio = 1, low = 1, high = 1;  // with its 95 % interval over prompts
};

struct MeasuredSpeed {
  std::string policy;
  bool lossless = true;  // it cannot change a token
  double ms_per_token = 0;
  SpeedRatio over_full, over_lossless;
};

/// What one group may use in place of the setting for all: its own thresholds on exits at its own temperatures and
/// maps, run and certified on its own pieces.
struct OwnSettings {
  std::vector<CalibratedSetting> settings = {};  // safest first; bounds are of this group alone
  std::vector<Choice> choices = {};              // [risks] Choice::candidate is of `settings`
  LossPool losses = {};                          // of those that were run
  std::vector<MeasuredSpeed> speeds = {};        // full depth, lossless, own; empty: nothing to measure
  bool pays = false;                             // it is surely faster than either
};

/// How often an exit's answer is full depth's, and how well its numbers say so, in one group.
struct ExitQuality {
  int32_t layer = 0;
  int32_t group = 0;
  int64_t rows = 0;
  double agreement = 0;  // share of rows
  /// [signals] chance that of two rows the one whose answer is full depth's has the higher value (of an entropy and of
  /// diversity, the lower); NaN where there are no two such rows, or the signal was not measured.
  std::array<double, kSignals> auc = {};
  double temperature = 1;
};

/// Pieces of a group, by Split, below which nothing is fitted: maps need two halves of those that no translator saw.
inline constexpr std::array<int64_t, kSplits> kFewestPieces = {6, 1, 1};

/// What was run of one group's text.
struct GroupText {
  std::array<int64_t, kSplits> n_pieces = {};  // by Split
  int64_t n_unanswered = 0;  // prompts behind which the model wrote fewer than two tokens: they are no pieces

  /// Whether that is enough to fit on, if not to certify.
  FATHOM_API bool suffices() const;
};

struct Calibration {
  std::string policy;   // what is to be used here: of what is certified or lossless, the fastest
  std::string promise;  // one sentence
  bool certified = false, lossless = false;
  std::vector<GroupText>
      texts;  // [groups]; where one does not suffice, nothing is fitted or tried: there are no exits
              // and no settings, and each of `choices` says what would be needed if nothing were lost
  FittedExits exits;
  std::vector<FittedRouter> routers;        // empty: the settings ask none
  std::vector<CalibratedSetting> settings;  // safest first, of the mechanism that is forecast to read least
  LossPool losses;                          // of the settings that were run, on the pieces of Split::choose
  std::vector<Choice> choices;              // [risks] one setting for all groups, first at CalibrateOptions::risk
  std::vector<DrawnAgain> drawn_again;      // how often the choice of that one setting breaks on losses drawn anew
  std::vector<OwnSettings> own;             // [groups]; empty: none were asked for
  int32_t passed = -1;                      // of settings, the boldest that is certified; -1: none
  int32_t chosen = -1;                      // of settings; -1: none of them pays
  std::vector<MeasuredSpeed> speeds;        // full depth, lossless decoding, the same with exits as drafts, and the
                                            // boldest certified setting
  std::vector<ExitQuality> exit_quality;
  std::vector<double> oracle_work;  // [groups] if each row left at the first fitted layer that agrees, unchecked
  std::string report;               // JSON, docs/schema/report.json

  /// The setting of its own by which a group does less work than by the one for all, at the risk of this index; null:
  /// it is run with the one for all.
  FATHOM_API const CalibratedSetting* own_setting(int32_t group, size_t level = 0) const;
};

/// Lossless decoding: what is promised where nothing else is certified.
inline constexpr std::string_view kLosslessPolicy = "draft_ngram | defer_head | kv(verify, max_rows=16)";

/// Whether a policy gives full depth's tokens whatever its fitted parts say: each token is verified, or nothing is
/// saved.
FATHOM_API bool is_lossless(const Policy& policy);

/// What a setting that passed promises, in one sentence: of tokens, or of what they are drawn from.
FATHOM_API std::string promise_of(const Pieces& pieces, const CalibrateOptions& options);

/// The same of groups' own settings, at the first level of risk.
FATHOM_API std::string own_promise_of(std::span<const std::string> groups, const CalibrateOptions& options);

/// The levels of risk, `risk` first.
FATHOM_API std::vector<double> risks_of(const CalibrateOptions& options);

/// The share of 1 - confidence at which the setting for all groups is tested, at each level of risk.
FATHOM_API double delta_for_all(const CalibrateOptions& options, size_t n_groups);

/// Fits, chooses, certifies and measures. Timings decide `policy` and `chosen`, and nothing else.
///   pieces   of at most kMostGroups groups. Where one has fewer than kFewestPieces, full depth and lossless decoding
///   are
///            measured, and that is all
///   errors   argument: options out of range, pieces longer than the model's context, the journal of another run;
///   format: states or logits that are not finite, a damaged journal; file: a journal
///            that cannot be written, the disk being full for instance; cancelled; those of Session::make()
///   cost     a pass over the pieces of fit, and over those of them that are asked for heads: at each exit for at most
///            20,480 places, here and of the report 8,192 more, and at each router's layer for at most 12,000; a pass
///            and a half over the pieces of choose for the profile; routes on a dozen pieces of each group; KV
///            translators: a pass over the pieces of fit, more where states are wide, and three over a third of them;
///            passes over the pieces of choose and report, one for each setting; a group's own settings run on its own
///            pieces. Passes have heads where pieces are compared. At a temperature full depth runs beside every pass
///            of a policy
///   memory   32 d^2 bytes an exit while fitting, then 36 d^2 for each layer above one, 768 MB of them at once; logits
///            of 64 rows twice, at a temperature once more; 4 d bytes for each exit and 20,480 places
FATHOM_API Result<Calibration> calibrate(const Model& model, const Pieces& pieces,
                                         const CalibrateOptions& options = {});

}  // namespace fathom
