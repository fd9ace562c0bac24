// KV translators under trial: the same setting twice.
#include "src/calibrate/fill_trial.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "src/calibrate/held_out.h"
#include "src/calibrate/settings.h"

namespace fathom {
namespace {

using Texts = std::span<const PieceText* const>;

constexpr double kShare = 0.005;  // of calibration's progress, a pass

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}

class Trial {
 public:
  Trial(PieceRunner& runner, const Proposal& proposal, const FittedExits& exits, Progress& progress)
      : runner_(runner), proposal_(proposal), exits_(exits), progress_(progress) {}

  Result<FillRecord> run(Texts texts) {
    texts_ = split_for_fit(texts, exits_.groups.size());
    std::vector<int32_t> layers;
    for (const FittedExit& exit : exits_.exits) layers.push_back(exit.layer);
    FATHOM_TRY(record_.fitted, fit_fills(runner_, texts_.fit, texts_.held_out, layers, progress_));
    const auto& fills = record_.fitted.fills;
    if (std::any_of(fills.begin(), fills.end(), [](const auto& of_exit) { return !of_exit.empty(); })) {
      FATHOM_TRY(compare());
    }
    return std::move(record_);
  }

 private:
  // The boldest setting leaves most cells to be filled.
  Result<void> compare() {
    record_.policy = proposal_.policy(proposal_.thresholds.back());
    record_.exact = mean(proposal_.forecasts.back().losses);
    progress_.begin("trying KV translators", kShare);
    FATHOM_TRY(truth_, true_tokens(runner_, texts_.held_out, progress_));
    FATHOM_TRY(const SettingRun plain, run_with(exits_));
    FATHOM_TRY(const SettingRun translated, run_with(with_fills(exits_, record_.fitted)));
    record_.plain = {mean(plain.mean_loss), plain.work};
    record_.translated = {mean(translated.mean_loss), translated.work};
    std::vector<int64_t> units;
    for (const PieceText* text : texts_.held_out) units.push_back(text->unit);
    record_.gain = gain_of(plain.losses, translated.losses, units);
    record_.kept = record_.gain.is_sure();
    return {};
  }

  Result<SettingRun> run_with(const FittedExits& exits) {
    FATHOM_TRY(std::shared_ptr<const ExitHeads> heads, ExitHeads::make(runner_.session().model(), exits));
    FATHOM_TRY(runner_.session().use(std::move(heads)));
    FATHOM_TRY(const Policy policy, Policy::parse(record_.policy));
    progress_.begin("trying KV translators", kShare);
    return run_setting(runner_, texts_.held_out, truth_, policy, exits.groups.size(), progress_);
  }

  PieceRunner& runner_;
  const Proposal& proposal_;
  const FittedExits& exits_;
  Progress& progress_;
  FitSplit texts_;
  std::vector<std::vector<int32_t>> truth_;  // [held out]
  FillRecord record_;
};

}  // namespace

FillGain gain_of(std::span<const float> before, std::span<const float> after, std::span<const int64_t> units) {
  std::map<int64_t, std::pair<double, double>> of_unit;  // sum and number of its texts' gains
  for (size_t t = 0; t < units.size(); ++t) {
    auto& [sum, n] = of_unit[units[t]];
    sum += double(before[t]) - double(after[t]), ++n;
  }
  FillGain out{.units = std::ssize(of_unit)};
  const double n = double(of_unit.size());
  for (const auto& [unit, gains] : of_unit) out.mean += gains.first / gains.second / n;
  double squares = 0;
  for (const auto& [unit, gains] : of_unit) {
    const double from_mean = gains.first / gains.second - out.mean;
    squares += from_mean * from_mean;
  }
  out.error = n > 1 ? std::sqrt(squares / (n - 1) / n) : 0;
  return out;
}

Result<FillRecord> try_fills(PieceRunner& runner, Texts texts, const Proposal& proposal, const FittedExits& exits,
                             Progress& progress) {
  return runner.journal().part<FillRecord>(
      "KV translators", [&] { return Trial(runner, proposal, exits, progress).run(texts); },
      [&](const FillRecord& kept) { return kept.fitted.fills.size() == exits.exits.size(); });
}

FittedExits with_fills(FittedExits exits, const FillFit& fitted) {
  for (size_t e = 0; e < exits.exits.size(); ++e) exits.exits[e].fills = fitted.fills[e];
  return exits;
}

}  // namespace fathom
