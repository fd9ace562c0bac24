// Certificates: how the confidence is shared out, and what each claim is tested on.
#include "src/calibrate/certificates.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr double kShareOfAll = 0.5;  // of 1 - confidence, where groups have settings of their own

// What is not forecast to save anything is not worth a run, but for the safest, of which all is told.
std::vector<CalibratedSetting> settings_of(const Proposal& proposal) {
  std::vector<CalibratedSetting> settings;
  for (size_t i = 0; i < proposal.thresholds.size(); ++i) {
    const Forecast& forecast = proposal.forecasts[i];
    if (i > 0 && forecast.time > kWorthTrying) continue;
    const float threshold = proposal.thresholds[i];
    settings.push_back({.policy = proposal.policy(threshold),
                        .threshold = threshold,
                        .predicted = forecast.worst,
                        .forecast = forecast.time,
                        .mean_depth = forecast.mean_depth});
  }
  return settings;
}

class Certifier {
 public:
  Certifier(PieceRunner& runner, std::span<const PieceText* const> texts, const Findings& findings, Calibration& out,
            Progress& progress)
      : runner_(runner), texts_(texts), findings_(findings), out_(out), progress_(progress) {}

  Result<void> run(const std::shared_ptr<const ExitHeads>& heads) {
    progress_.begin("reading full depth's tokens", 0.05);
    FATHOM_TRY(truth_, true_tokens(runner_, texts_, progress_));
    const bool own = !findings_.own_proposals.empty();
    FATHOM_TRY(for_all(own ? kShareOfAll : 1));
    if (!own) return {};
    for (size_t g = 0; g < findings_.groups.size(); ++g) {
      FATHOM_TRY(runner_.session().use(heads, findings_.groups[g]));
      FATHOM_TRY(for_group(int32_t(g)));
    }
    return runner_.session().use(heads);
  }

 private:
  CertifyOptions options(double share) const {
    return {.risks = risks_of(findings_.options), .confidence = 1 - share * (1 - findings_.options.confidence)};
  }

  Result<void> for_all(double share) {
    out_.settings = findings_.instead.empty() ? settings_of(findings_.proposal) : findings_.instead;
    const SettingSequence sequence{
        .texts = texts_, .truth = truth_, .groups = findings_.groups, .options = options(share), .share = share * 0.15};
    FATHOM_TRY(out_.choices, certify_settings(runner_, sequence, out_.settings, out_.losses, progress_));
    out_.passed = out_.choices.front().candidate;
    FATHOM_TRY(out_.drawn_again, draw_again(out_.losses, options(share)));
    return {};
  }

  // At the group's own temperatures and maps, which the runner's session uses.
  Result<void> for_group(int32_t group) {
    OwnSettings& own = out_.own.emplace_back();
    own.settings = settings_of(findings_.own_proposals[size_t(group)]);
    if (own.settings.back().forecast > kWorthTrying) return own.settings.clear(), Result<void>();
    std::vector<const PieceText*> texts;
    std::vector<std::vector<int32_t>> truth;
    for (size_t t = 0; t < texts_.size(); ++t) {
      if (texts_[t]->group != group) continue;
      texts.push_back(texts_[t]);
      truth.push_back(truth_[t]);
    }
    const double share = (1 - kShareOfAll) / double(findings_.groups.size());
    const SettingSequence sequence{.texts = texts,
                                   .truth = truth,
                                   .groups = findings_.groups,
                                   .group = group,
                                   .options = options(share),
                                   .share = share * 0.15};
    FATHOM_TRY(own.choices, certify_settings(runner_, sequence, own.settings, own.losses, progress_));
    return {};
  }

  PieceRunner& runner_;
  std::span<const PieceText* const> texts_;
  const Findings& findings_;
  Calibration& out_;
  Progress& progress_;
  std::vector<std::vector<int32_t>> truth_;  // [texts]
};

}  // namespace

Result<void> certify(PieceRunner& runner, std::span<const PieceText* const> texts, const Findings& findings,
                     const std::shared_ptr<const ExitHeads>& heads, Calibration& calibration, Progress& progress) {
  return Certifier(runner, texts, findings, calibration, progress).run(heads);
}

Result<std::vector<Choice>> uncertified(std::span<const PieceText* const> texts, const Findings& findings) {
  LossPool pool{.groups = findings.groups, .pieces = {}};
  for (const PieceText* text : texts) {
    pool.pieces.push_back({.group = text->group, .document = static_cast<int32_t>(text->unit), .losses = {0}});
  }
  FATHOM_TRY(LossTable table, table_of(pool));
  table.losses.resize(1, std::vector<std::vector<float>>(pool.groups.size()));  // no piece: no candidate
  const std::vector<double> risks = risks_of(findings.options);
  const double spent = delta_for_all(findings.options, findings.groups.size()) * double(risks.size());
  FATHOM_TRY(std::vector<Choice> choices, certify_for_all(table, {.risks = risks, .confidence = 1 - spent}));
  for (Choice& choice : choices) {
    if (choice.certified()) choice.refused = std::move(choice.passed);
    choice.passed.clear();
    choice.candidate = -1;
  }
  return choices;
}

double delta_for_all(const CalibrateOptions& options, size_t n_groups) {
  const double share = options.own_settings && n_groups > 1 ? kShareOfAll : 1;
  return share * (1 - options.confidence) / double(1 + options.more_risks.size());
}

std::vector<double> risks_of(const CalibrateOptions& options) {
  std::vector<double> risks = {options.risk};
  risks.insert(risks.end(), options.more_risks.begin(), options.more_risks.end());
  return risks;
}

const CalibratedSetting* Calibration::own_setting(int32_t group, size_t level) const {
  const auto g = static_cast<size_t>(group);
  if (group < 0 || g >= own.size() || level >= own[g].choices.size() || !own[g].choices[level].certified()) {
    return nullptr;
  }
  const CalibratedSetting& mine = own[g].settings[size_t(own[g].choices[level].candidate)];
  const int32_t shared = choices[level].candidate;
  if (shared >= 0 && settings[size_t(shared)].group_work[g] <= mine.work) return nullptr;
  return &mine;
}

}  // namespace fathom
