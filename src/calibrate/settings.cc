// Settings under trial: a fixed sequence from the safest on.
#include "src/calibrate/settings.h"

#include <algorithm>
#include <map>
#include <utility>

namespace fathom {
namespace {

// The claim was about group 0 of one.
void name_group(Choice& choice, int32_t group) {
  if (group < 0) return;
  choice.group = group;
  for (GroupBound& bound : choice.passed) bound.group = group;
  for (GroupBound& bound : choice.refused) bound.group = group;
}

// Notes what the losses say of a setting, by the first level that still asks for it; false: none goes on behind it.
bool book(CalibratedSetting& setting, int32_t index, const std::vector<Choice>& choices) {
  setting.certified = choices.front().candidate == index;
  bool goes_on = false;
  for (const Choice& choice : choices) {
    goes_on |= choice.candidate == index;
    const auto& bounds = choice.candidate == index ? choice.passed : choice.refused;
    if (setting.bounds.empty() && choice.candidate >= index - 1) setting.bounds = bounds;
  }
  return goes_on;
}

// Whether what was kept has a value for every place.
bool fits_places(std::span<const PieceText* const> texts, const std::vector<std::vector<float>>& kept) {
  for (size_t t = 0; t < texts.size(); ++t) {
    if (kept.size() != texts.size() || kept[t].size() != size_t(texts[t]->places())) return false;
  }
  return true;
}

// [groups] as a certificate counts: every unit alike, whatever it has of pieces. 0 for a group without any.
std::vector<double> means_by_unit(std::span<const PieceText* const> texts, std::span<const float> losses,
                                  size_t n_groups) {
  struct Sum {
    double loss = 0, pieces = 0;
  };
  std::map<std::pair<int32_t, int64_t>, Sum> units;
  for (size_t t = 0; t < texts.size(); ++t) {
    Sum& sum = units[{texts[t]->group, texts[t]->unit}];
    sum.loss += losses[t], ++sum.pieces;
  }
  std::vector<double> means(n_groups), counts(n_groups);
  for (const auto& [unit, sum] : units)
    means[size_t(unit.first)] += sum.loss / sum.pieces, ++counts[size_t(unit.first)];
  for (size_t g = 0; g < n_groups; ++g) means[g] /= std::max(counts[g], 1.0);
  return means;
}

Result<SettingRun> run_anew(PieceRunner& runner, std::span<const PieceText* const> texts,
                            std::span<const std::vector<int32_t>> truth, const Policy& policy, size_t n_groups,
                            Progress& progress) {
  SettingRun run{.losses = {}, .mean_loss = std::vector<double>(n_groups), .depths = {}, .group_work = {}, .work = 0};
  std::vector<double> macs(n_groups), full(n_groups);
  double depth = 0, rows = 0;
  Reference reference(runner);
  for (size_t t = 0; t < texts.size(); ++t) {
    std::vector<float>& depths = run.depths.emplace_back();
    double lost = 0;
    const auto g = size_t(texts[t]->group);
    const std::vector<int32_t> compared = texts[t]->compared();
    const auto add = [&](const PieceStep& step) -> Result<void> {
      FATHOM_TRY(const std::span<const float> losses, reference.losses(step));
      for (size_t i = 0; i < losses.size(); ++i) {
        const RowResult& row = step.row_of(step.places[i]);
        lost += losses[i];
        macs[g] += row.macs, full[g] += row.full_macs;
      }
      for (const RowResult& row : step.rows) depths.push_back(row.depth), depth += row.depth, ++rows;
      return {};
    };
    FATHOM_TRY(reference.begin(*texts[t], compared, truth[t]));
    FATHOM_TRY(runner.run_at(*texts[t], compared, add, policy));
    run.losses.push_back(float(lost / texts[t]->n_compared()));
    FATHOM_TRY(progress.at(double(t + 1) / double(texts.size())));
  }
  run.mean_loss = means_by_unit(texts, run.losses, n_groups);
  double all_macs = 0, all_full = 0;
  for (size_t g = 0; g < n_groups; ++g) {
    run.group_work.push_back(macs[g] / full[g]);  // NaN: 0 / 0
    all_macs += macs[g], all_full += full[g];
  }
  run.work = all_full > 0 ? all_macs / all_full : 1;
  run.mean_depth = rows > 0 ? depth / rows : 0;
  return run;
}

}  // namespace

Result<SettingRun> run_setting(PieceRunner& runner, std::span<const PieceText* const> texts,
                               std::span<const std::vector<int32_t>> truth, const Policy& policy, size_t n_groups,
                               Progress& progress) {
  const auto fits = [&](const SettingRun& kept) {
    return kept.losses.size() == texts.size() && kept.mean_loss.size() == n_groups &&
           kept.group_work.size() == n_groups && fits_places(texts, kept.depths);
  };
  return runner.journal().part<SettingRun>(
      policy.text(), [&] { return run_anew(runner, texts, truth, policy, n_groups, progress); }, fits);
}

Result<std::vector<Choice>> certify_settings(PieceRunner& runner, const SettingSequence& sequence,
                                             std::vector<CalibratedSetting>& settings, LossPool& losses,
                                             Progress& progress) {
  const bool alone = sequence.group >= 0;
  losses = {.groups = {sequence.groups.begin(), sequence.groups.end()}, .pieces = {}};
  if (alone) losses.groups = {sequence.groups[size_t(sequence.group)]};
  for (const PieceText* text : sequence.texts) {
    losses.pieces.push_back(
        {.group = alone ? 0 : text->group, .document = static_cast<int32_t>(text->unit), .losses = {}});
  }
  std::vector<Choice> choices;
  for (size_t i = 0; i < settings.size(); ++i) {
    CalibratedSetting& setting = settings[i];
    FATHOM_TRY(const Policy policy, Policy::parse(setting.policy));
    progress.begin("certifying", sequence.share / double(settings.size()));
    FATHOM_TRY(SettingRun run,
               run_setting(runner, sequence.texts, sequence.truth, policy, sequence.groups.size(), progress));
    setting.run = true;
    setting.work = run.work, setting.mean_depth = run.mean_depth;
    setting.group_work = std::move(run.group_work);
    for (size_t t = 0; t < sequence.texts.size(); ++t) losses.pieces[t].losses.push_back(run.losses[t]);
    FATHOM_TRY(const LossTable table, table_of(losses));
    FATHOM_TRY(choices, certify_for_all(table, sequence.options));
    for (Choice& choice : choices) name_group(choice, sequence.group);
    if (!book(setting, int32_t(i), choices)) break;
  }
  return choices;
}

}  // namespace fathom
