// Settings under trial: the composed policy on pieces with its own cache, and its certificate.
// Next in the flow: src/calibrate/speeds.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/exit_trials.h"

namespace fathom {

/// Full depth's token at every place of some pieces.
Result<std::vector<std::vector<int32_t>>> true_tokens(PieceRunner& runner, std::span<const PieceText* const> texts,
                                                      Progress& progress);

/// What a policy did on pieces.
struct SettingRun {
  std::vector<float> losses;                 // [texts] share of places whose token is not full depth's
  std::vector<double> mean_loss;             // [groups]
  std::vector<std::vector<float>> depths;    // [texts][places] layers run
  std::vector<std::vector<int32_t>> tokens;  // [texts][places]
  double work = 1, mean_depth = 0;
};
Result<SettingRun> run_setting(PieceRunner& runner, std::span<const PieceText* const> texts,
                               std::span<const std::vector<int32_t>> truth, const Policy& policy, size_t n_groups,
                               Progress& progress);

/// Runs thresholds from the safest on until one fails in some group, and says which is the last that passed.
///   losses   becomes what each setting that was run lost on each text
///   returns  index of a setting, -1: none passes
Result<int32_t> certify_settings(PieceRunner& runner, std::span<const PieceText* const> texts,
                                 std::span<const std::string> groups, const CalibrateOptions& options,
                                 std::vector<CalibratedSetting>& settings, LossPool& losses, Progress& progress);

}  // namespace fathom
