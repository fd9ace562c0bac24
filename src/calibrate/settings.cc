// Settings under trial: a fixed sequence from the safest on.
#include "src/calibrate/settings.h"

#include <algorithm>

namespace fathom {

Result<std::vector<std::vector<int32_t>>> true_tokens(PieceRunner& runner, std::span<const PieceText* const> texts,
                                                      Progress& progress) {
  std::vector<std::vector<int32_t>> truth;
  for (const PieceText* text : texts) {
    std::vector<int32_t>& tokens = truth.emplace_back();
    FATHOM_TRY(runner.run(*text, Policy(), [&](const PieceStep& step) {
      for (const LogitStats& stats : step.stats) tokens.push_back(stats.argmax);
    }));
    FATHOM_TRY(progress.at(double(truth.size()) / double(texts.size())));
  }
  return truth;
}

Result<SettingRun> run_setting(PieceRunner& runner, std::span<const PieceText* const> texts,
                               std::span<const std::vector<int32_t>> truth, const Policy& policy, size_t n_groups,
                               Progress& progress) {
  SettingRun run{.losses = {}, .mean_loss = std::vector<double>(n_groups), .depths = {}, .tokens = {}, .work = 0};
  std::vector<double> pieces(n_groups);
  double macs = 0, full = 0, depth = 0, rows = 0;
  for (size_t t = 0; t < texts.size(); ++t) {
    std::vector<float>& depths = run.depths.emplace_back();
    std::vector<int32_t>& tokens = run.tokens.emplace_back();
    int32_t wrong = 0;
    FATHOM_TRY(runner.run(*texts[t], policy, [&](const PieceStep& step) {
      for (size_t i = 0; i < step.stats.size(); ++i) {
        const RowResult& row = step.rows[i];
        wrong += step.stats[i].argmax != truth[t][size_t(step.first) + i];
        tokens.push_back(step.stats[i].argmax);
        depths.push_back(row.depth);
        macs += row.macs, full += row.full_macs, depth += row.depth, ++rows;
      }
    }));
    run.losses.push_back(float(wrong) / float(texts[t]->places()));
    run.mean_loss[size_t(texts[t]->group)] += run.losses.back();
    ++pieces[size_t(texts[t]->group)];
    FATHOM_TRY(progress.at(double(t + 1) / double(texts.size())));
  }
  for (size_t g = 0; g < n_groups; ++g) run.mean_loss[g] /= std::max(pieces[g], 1.0);
  run.work = full > 0 ? macs / full : 1;
  run.mean_depth = rows > 0 ? depth / rows : 0;
  return run;
}

Result<int32_t> certify_settings(PieceRunner& runner, std::span<const PieceText* const> texts,
                                 std::span<const std::string> groups, const CalibrateOptions& options,
                                 std::vector<CalibratedSetting>& settings, LossPool& losses, Progress& progress) {
  progress.begin("reading full depth's tokens", 0.1);
  FATHOM_TRY(const auto truth, true_tokens(runner, texts, progress));
  losses = {.groups = {groups.begin(), groups.end()}, .pieces = {}};
  for (const PieceText* text : texts) {
    losses.pieces.push_back({.group = text->group, .document = static_cast<int32_t>(text->unit), .losses = {}});
  }
  int32_t passed = -1;
  for (size_t i = 0; i < settings.size(); ++i) {
    CalibratedSetting& setting = settings[i];
    progress.begin("certifying", 0.3 / double(settings.size()));
    FATHOM_TRY(const Policy policy, Policy::parse(setting.policy));
    FATHOM_TRY(SettingRun run, run_setting(runner, texts, truth, policy, groups.size(), progress));
    setting.run = true;
    setting.work = run.work, setting.mean_depth = run.mean_depth;
    for (size_t t = 0; t < texts.size(); ++t) losses.pieces[t].losses.push_back(run.losses[t]);
    FATHOM_TRY(const LossTable table, table_of(losses));
    FATHOM_TRY(const std::vector<Choice> choices,
               certify_for_all(table, {.risks = {options.risk}, .confidence = options.confidence}));
    const Choice& choice = choices.front();
    setting.certified = choice.candidate == int32_t(i);
    setting.bounds = setting.certified ? choice.passed : choice.refused;
    if (!setting.certified) break;
    passed = int32_t(i);
  }
  return passed;
}

}  // namespace fathom
