// Settings under trial: the composed policy on pieces with its own cache, and its certificate.
// Next in the flow: src/calibrate/speeds.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/exit_trials.h"
#include "src/calibrate/reference.h"

namespace fathom {

/// What a policy did on pieces.
struct SettingRun {
  std::vector<float> losses;               // [texts] mean over the places that are compared
  std::vector<double> mean_loss;           // [groups] every unit alike
  std::vector<std::vector<float>> depths;  // [texts][places] layers run
  std::vector<double> group_work;          // [groups] as `work`; NaN for none of its pieces
  double work = 1;                         // of rows that are compared, as they have a head
  double mean_depth = 0;                   // of all rows
};
template <class P>
void pack(P& p, SettingRun& run) {
  p(run.losses), p(run.mean_loss), p(run.depths), p(run.group_work), p(run.work), p(run.mean_depth);
}
///   truth    [texts] true_tokens()
Result<SettingRun> run_setting(PieceRunner& runner, std::span<const PieceText* const> texts,
                               std::span<const std::vector<int32_t>> truth, const Policy& policy, size_t n_groups,
                               Progress& progress);

/// A claim under trial: settings in a fixed order, safest first, on the pieces that it is about.
struct SettingSequence {
  std::span<const PieceText* const> texts;
  std::span<const std::vector<int32_t>> truth;  // [texts] true_tokens()
  std::span<const std::string> groups;          // by PieceText::group
  int32_t group = -1;                           // all texts are of this one, and the claim is about it alone; -1: all
  CertifyOptions options = {};                  // levels, and the confidence of this claim
  double share = 0.3;                           // of the whole run, for progress
};

/// Runs settings from the safest on until one fails at every level, and says how far each level came.
///   losses   becomes what each setting that was run lost on each text
///   returns  [risks] Choice::candidate is of `settings`; what is first is what `certified` and `bounds` are about
Result<std::vector<Choice>> certify_settings(PieceRunner& runner, const SettingSequence& sequence,
                                             std::vector<CalibratedSetting>& settings, LossPool& losses,
                                             Progress& progress);

}  // namespace fathom
