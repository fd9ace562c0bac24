// calibrate(): fit, propose, certify, report, measure, choose.
#include "fathom/calibrate/calibrate.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/calibrate/calibrate_check.h"
#include "src/calibrate/certificates.h"
#include "src/calibrate/findings.h"
#include "src/calibrate/place_sample.h"
#include "src/calibrate/safeguards.h"

namespace fathom {
namespace {

constexpr float kDraft = 0.8f;             // agreement from which an exit's answer is worth verifying
constexpr int64_t kReportedPlaces = 8192;  // at which every exit is asked

// The exits of a set of bits alone.
FittedExits selected(const FittedExits& all, uint32_t bits) {
  FittedExits out{.groups = all.groups, .exits = {}, .shortlist = all.shortlist};
  for (size_t i = 0; i < all.exits.size(); ++i) {
    if (bits >> i & 1) out.exits.push_back(all.exits[i]);
  }
  return out;
}

constexpr double kOwnSeconds = 30;  // for measuring one group's own setting

class Run {
 public:
  Run(const Model& model, const Pieces& pieces, const CalibrateOptions& options, PieceRunner runner)
      : runner_(std::move(runner)),
        progress_(options.on_progress, options.context),
        found_{.model = model,
               .pieces = pieces,
               .options = options,
               .groups = {},
               .reported = {},
               .fitted = {},
               .proposal = {},
               .own_proposals = {},
               .profile = {},
               .skips = {},
               .oracle_skip = {},
               .routing = {},
               .judged = {},
               .forecasts = {},
               .fills = {},
               .instead = {},
               .trials = {},
               .signals = {},
               .held_out = {},
               .looked = {},
               .speeds = {},
               .safeguards = {}} {
    for (const PieceGroup& group : pieces.groups) found_.groups.push_back(group.name);
  }

  Result<Calibration> run() {
    FATHOM_TRY(read_texts());
    if (!std::all_of(out_.texts.begin(), out_.texts.end(), [](const GroupText& t) { return t.suffices(); })) {
      return lossless_only();
    }
    FATHOM_TRY(fit());
    FATHOM_TRY(profile());
    FATHOM_TRY(translate_cells());
    FATHOM_TRY(certify(runner_, pointers(Split::choose), found_, parts_.exits, out_, progress_));
    FATHOM_TRY(report());
    FATHOM_TRY(measure());
    choose();
    out_.report = report_json(found_, out_);
    return std::move(out_);
  }

 private:
  std::span<const PieceText> texts(Split split) const { return texts_[size_t(split)]; }
  std::vector<const PieceText*> pointers(Split split) const {
    std::vector<const PieceText*> out;
    for (const PieceText& text : texts(split)) out.push_back(&text);
    return out;
  }

  Result<void> read_texts() {
    progress_.begin("writing on behind prompts", 0.02);
    const std::span<const Piece> pieces = found_.pieces.pieces;
    const auto fits = [&](const std::vector<PieceText>& kept) { return kept.size() == pieces.size(); };
    FATHOM_TRY(std::vector<PieceText> all, runner_.journal().part<std::vector<PieceText>>(
                                               "texts", [&] { return written_texts(); }, fits));
    out_.texts.resize(found_.groups.size());
    for (size_t i = 0; i < all.size(); ++i) {
      const bool shared = found_.pieces.groups[size_t(pieces[i].group)].spaced;
      runner_.belong(all[i], pieces[i]);
      all[i].unit = shared ? -1 - int64_t(i) : pieces[i].document;
      GroupText& of = out_.texts[size_t(pieces[i].group)];
      const bool whole = all[i].tokens.size() >= 2;
      ++(whole ? of.n_pieces[size_t(pieces[i].split)] : of.n_unanswered);
      if (whole) texts_[size_t(pieces[i].split)].push_back(std::move(all[i]));
    }
    found_.reported = pointers(Split::report);
    return {};
  }

  // Too little text to fit on: what changes no token is measured behind what there is.
  Result<Calibration> lossless_only() {
    FATHOM_TRY(out_.choices, uncertified(pointers(Split::choose), found_));
    const Split all[] = {Split::report, Split::choose, Split::fit};
    for (size_t i = 0; found_.reported.empty() && i < std::size(all); ++i) found_.reported = pointers(all[i]);
    const std::string policies[] = {"full_depth", std::string(kLosslessPolicy)};
    const SpeedTrial trial{.texts = found_.reported, .n_groups = found_.groups.size(), .policies = policies};
    progress_.begin("measuring speed", 0.9);
    FATHOM_TRY(found_.speeds, measure_speeds(found_.model, trial, found_.options, progress_));
    out_.speeds = found_.speeds.speeds;
    choose();
    out_.report = report_json(found_, out_);
    return std::move(out_);
  }

  Result<std::vector<PieceText>> written_texts() {
    std::vector<PieceText> all;
    for (const Piece& piece : found_.pieces.pieces) {
      FATHOM_TRY(PieceText text, runner_.text_of(piece));
      all.push_back(std::move(text));
      if (piece.prompt) FATHOM_TRY(progress_.at(0));
    }
    return all;
  }

  Result<void> fit() {
    layers_ = exit_layers(found_.model.config().n_layers, found_.options.n_exits);
    FATHOM_TRY(found_.fitted, fit_exits(runner_, texts(Split::fit), found_.groups, layers_, progress_));
    const std::vector<AgreementMap> maps = maps_of(found_.fitted.exits);
    // Checks read the whole head, or look at a shortlist of it first.
    RowCost cost = row_cost(found_.model, found_.fitted.exits, false);
    const std::vector<double> risks = risks_of(found_.options);
    const ExitTrials& trials = found_.fitted.trials;
    const TrialAgreement agreement = agreement_of(trials, maps);
    const std::vector<TokenClass> classes = classes_of(found_.model.tokenizer());
    const auto proposed = [&] {
      return propose(trials, agreement, found_.groups.size(), risks, found_.options.n_settings, cost);
    };
    found_.proposal = proposed();
    cost = row_cost(found_.model, found_.fitted.exits, true);
    if (Proposal listed = proposed(); listed.fastest() < found_.proposal.fastest()) {
      found_.proposal = std::move(listed);
    } else {
      cost = row_cost(found_.model, found_.fitted.exits, false);
    }
    found_.proposal = with_safeguards(std::move(found_.proposal), trials, agreement, found_.groups.size(), risks,
                                      found_.options.n_settings, cost, classes);
    propose_own(risks, cost, classes);
    out_.exits = selected(found_.fitted.exits, found_.proposal.exits);
    FATHOM_TRY(parts_.exits, ExitHeads::make(found_.model, out_.exits));
    return parts_.attach(runner_.session());
  }

  static std::vector<AgreementMap> maps_of(const FittedExits& exits) {
    std::vector<AgreementMap> maps;
    for (const FittedExit& exit : exits.exits) maps.push_back(exit.agreement.back());
    return maps;
  }

  // Of each group by itself, for the same exits.
  void propose_own(std::span<const double> risks, const RowCost& cost, std::span<const TokenClass> classes) {
    if (!found_.options.own_settings || found_.groups.size() < 2) return;
    for (size_t g = 0; g < found_.groups.size(); ++g) {
      ExitTrials trials{.layers = found_.fitted.trials.layers, .texts = {}};
      for (TextTrial text : found_.fitted.trials.texts) {
        if (text.group != int32_t(g)) continue;
        text.group = 0;
        for (ExitAnswer& answer : text.answers) answer.score = answer.own_score, answer.loss = answer.own_loss;
        trials.texts.push_back(std::move(text));
      }
      std::vector<AgreementMap> maps;
      for (const FittedExit& exit : found_.fitted.exits.exits) maps.push_back(exit.agreement[g]);
      const TrialAgreement agreement = agreement_of(trials, maps);
      const int32_t n = (found_.options.n_settings + 1) / 2;
      found_.own_proposals.push_back(
          with_safeguards(thresholds_for(trials, agreement, 1, found_.proposal.exits, risks, n, cost), trials,
                          agreement, 1, risks, n, cost, classes));
    }
  }

  Result<void> profile() {
    FATHOM_TRY(found_.profile, profile_layers(runner_, pointers(Split::fit), found_.groups.size(),
                                              texts(Split::choose).size(), found_.options.risk, progress_));
    FATHOM_TRY(found_.skips, try_skips(runner_, found_.profile, found_.options.risk, progress_));
    found_.oracle_skip = oracle_skip(found_.profile, found_.skips, found_.options.risk);
    FATHOM_TRY(found_.routing, fit_routing(runner_, pointers(Split::fit), found_.groups.size(), found_.options,
                                           row_cost(found_.model, found_.fitted.exits, false), progress_));
    return choose_family();
  }

  // One family is certified, which is decided on other text, so that it has all of the confidence to itself.
  Result<void> choose_family() {
    std::vector<CalibratedSetting> skips = skip_settings(found_.profile, found_.skips, found_.options.n_settings);
    found_.forecasts = forecasts_of(found_.proposal, skips, found_.routing.forecast, found_.options.risk);
    const Family family = found_.forecasts.least();
    if (family != Family::exits) found_.own_proposals.clear();
    if (family == Family::skips) found_.instead = std::move(skips);
    if (family == Family::routes) {
      found_.instead = found_.routing.settings;
      out_.routers = found_.routing.routers;
      FATHOM_TRY(parts_.routers, Routers::make(found_.model, out_.routers));
    }
    return parts_.attach(runner_.session());
  }

  // What exits that are certified leave behind for later rows.
  Result<void> translate_cells() {
    if (!found_.instead.empty()) return {};
    FATHOM_TRY(found_.fills, try_fills(runner_, pointers(Split::fit), found_.proposal, out_.exits, progress_));
    if (found_.fills.kept) {
      out_.exits = with_fills(std::move(out_.exits), found_.fills.fitted);
      FATHOM_TRY(parts_.exits, ExitHeads::make(found_.model, out_.exits));
    }
    return parts_.attach(runner_.session());
  }

  // The boldest setting that passed, or the safest of all, on pieces that nothing was chosen on; every exit there too.
  Result<void> report() {
    constexpr double kShare = 0.05 / 4;
    progress_.begin("reporting", kShare);
    FATHOM_TRY(const auto truth, true_tokens(runner_, found_.reported, progress_));
    found_.shown = std::max(0, out_.passed);
    CalibratedSetting& setting = out_.settings[size_t(found_.shown)];
    FATHOM_TRY(const Policy policy, Policy::parse(setting.policy));
    progress_.begin("reporting", kShare);
    FATHOM_TRY(found_.held_out, run_setting(runner_, found_.reported, truth, policy, found_.groups.size(), progress_));
    for (size_t g = 0; g < found_.groups.size(); ++g) setting.held_out.push_back(found_.held_out.mean_loss[g]);
    FATHOM_TRY(look(policy));
    FATHOM_TRY(std::shared_ptr<const ExitHeads> all, ExitHeads::make(found_.model, found_.fitted.exits));
    FATHOM_TRY(runner_.session().use(std::move(all)));
    progress_.begin("reporting", kShare);
    FATHOM_TRY(found_.trials, try_exits(runner_, found_.reported, layers_, progress_,
                                        first_places(found_.reported, found_.groups.size(), kReportedPlaces)));
    progress_.begin("reporting", kShare);
    FATHOM_TRY(record_signals());
    FATHOM_TRY(out_.exit_quality, exit_quality(found_));
    const RowCost cost = row_cost(found_.model, found_.fitted.exits, false);
    out_.oracle_work = oracle_time(found_.trials, found_.groups.size(), found_.options.risk, cost);
    progress_.begin("judging routers", 0.02);
    FATHOM_TRY(found_.judged,
               judge_routers(runner_, found_.reported, found_.groups.size(), found_.routing.routers, cost, progress_));
    return {};
  }

  // Where the rows of the pieces that are shown looked.
  Result<void> look(const Policy& policy) {
    for (size_t t = 0; t < found_.reported.size(); ++t) {
      found_.looked.emplace_back();
      if (!found_.shows(t)) continue;
      FATHOM_TRY(found_.looked.back(), attribute(runner_, *found_.reported[t], policy));
    }
    return {};
  }

  // At the places where exits were asked.
  Result<void> record_signals() {
    const auto is_asked = [&](size_t t) { return !found_.trials.texts[t].truth.empty(); };
    std::vector<const PieceText*> asked;
    for (size_t t = 0; t < found_.reported.size(); ++t) {
      if (is_asked(t)) asked.push_back(found_.reported[t]);
    }
    FATHOM_TRY(SignalRecord record, fathom::record_signals(runner_, asked, layers_, progress_));
    found_.signals.layers = record.layers;
    auto next = record.texts.begin();
    for (size_t t = 0; t < found_.reported.size(); ++t) {
      found_.signals.texts.push_back(is_asked(t) ? std::move(*next++) : std::vector<SignalRecord::Values>{});
    }
    return {};
  }

  Result<void> measure() {
    std::vector<std::string> policies = {
        "full_depth", std::string(kLosslessPolicy),
        fmt::format("{} | {}", Policy(exit_when{.agreement_at_least = kDraft}).text(), kLosslessPolicy)};
    if (out_.passed >= 0) policies.push_back(out_.settings[size_t(out_.passed)].policy);
    SpeedTrial trial{.texts = found_.reported, .n_groups = found_.groups.size(), .policies = policies, .parts = parts_};
    progress_.begin("measuring speed", 0.05);
    FATHOM_TRY(found_.speeds, measure_speeds(found_.model, trial, found_.options, progress_));
    out_.speeds = found_.speeds.speeds;
    for (size_t g = 0; g < out_.own.size(); ++g) {
      progress_.begin("measuring speed", 0.05 / double(out_.own.size()));
      FATHOM_TRY(measure_own(int32_t(g)));
    }
    progress_.begin("writing with safeguards", 0.02);
    const std::string& shown = out_.settings[size_t(found_.shown)].policy;
    FATHOM_TRY(found_.safeguards,
               try_safeguards(found_.model, found_.reported, shown, parts_, found_.options, progress_));
    return {};
  }

  // A group's own setting behind its own prompts.
  Result<void> measure_own(int32_t group) {
    const CalibratedSetting* const setting = out_.own_setting(group);
    if (setting == nullptr) return {};
    std::vector<const PieceText*> texts;
    for (const PieceText* text : found_.reported) {
      if (text->group == group) texts.push_back(text);
    }
    const std::string policies[] = {"full_depth", std::string(kLosslessPolicy), setting->policy};
    const SpeedTrial trial{.texts = texts,
                           .n_groups = found_.groups.size(),
                           .policies = policies,
                           .parts = parts_,
                           .group = found_.groups[size_t(group)],
                           .seconds = kOwnSeconds};
    FATHOM_TRY(const Speeds speeds, measure_speeds(found_.model, trial, found_.options, progress_));
    OwnSettings& own = out_.own[size_t(group)];
    own.speeds = speeds.speeds;
    own.pays = certified_pays(own.speeds);
    return {};
  }

  void choose() {
    if (certified_pays(out_.speeds)) {
      out_.chosen = out_.passed;
      out_.policy = out_.settings[size_t(out_.passed)].policy;
      out_.certified = true;
      out_.promise = promise_of(found_.pieces, found_.options);
      return;
    }
    out_.lossless = true;
    const MeasuredSpeed* const lossless = best_lossless(out_.speeds);
    const bool pays = lossless == nullptr || lossless->over_full.ratio >= 1;
    out_.policy = !pays ? "full_depth" : lossless == nullptr ? std::string(kLosslessPolicy) : lossless->policy;
    out_.promise = "Every token is that of full depth: ";
    if (out_.settings.empty()) {
      out_.promise += "there is too little text for any other promise.";
    } else if (lossless == nullptr) {
      out_.promise += "nothing could be timed, for the model ends its answers at once.";
    } else {
      out_.promise += pays ? "beyond lossless decoding nothing pays on this model and machine."
                           : "nothing that saves work pays on this model and machine.";
    }
    std::vector<std::string> own;
    for (size_t g = 0; g < out_.own.size(); ++g) {
      if (out_.own[g].pays) own.push_back(found_.groups[g]);
    }
    if (!own.empty()) out_.promise += " " + own_promise_of(own, found_.options);
  }

  PieceRunner runner_;
  Progress progress_;
  std::array<std::vector<PieceText>, kSplits> texts_;
  std::vector<int32_t> layers_;  // of fitted exits
  SessionParts parts_;           // of the settings
  Findings found_;
  Calibration out_;
};

}  // namespace

Result<Calibration> calibrate(const Model& model, const Pieces& pieces, const CalibrateOptions& options) {
  FATHOM_TRY(check(pieces, options, model.config()));
  FATHOM_TRY(PieceRunner runner, PieceRunner::make(model, pieces, options.threads));
  runner.compare_by(Loss(options.temperature));
  if (!options.journal.path.empty()) {
    FATHOM_TRY(Journal journal, Journal::open(options.journal, identity_of(model, pieces, options)));
    runner.keep(std::move(journal));
  }
  return Run(model, pieces, options, std::move(runner)).run();
}

}  // namespace fathom
