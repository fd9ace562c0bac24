// recheck(): limits from above and from below.
#include "fathom/calibrate/recheck.h"

#include <fmt/format.h>

#include <algorithm>

#include "fathom/calibrate/recalibration.h"
#include "src/calibrate/settings.h"

namespace fathom {

Result<Recheck> recheck(const Model& model, const Policy& policy, const FittedExits& exits, const Pieces& pieces,
                        const RecheckOptions& options) {
  if (!(options.risk > 0 && options.risk < 1) || !(options.confidence > 0 && options.confidence < 1)) {
    return Error{ErrorCode::argument, fmt::format("risk {} at confidence {}: write shares above 0 and below 1",
                                                  options.risk, options.confidence)};
  }
  const Loss loss(options.temperature);
  FATHOM_TRY(loss.check());
  FATHOM_TRY(PieceRunner runner, PieceRunner::make(model, pieces, options.threads));
  runner.compare_by(loss);
  FATHOM_TRY(std::shared_ptr<const ExitHeads> heads, ExitHeads::make(model, exits));
  FATHOM_TRY(runner.session().use(heads, options.group));
  if (!options.routers.empty()) {
    FATHOM_TRY(std::shared_ptr<const Routers> routers,
               Routers::make(model, {options.routers.begin(), options.routers.end()}));
    FATHOM_TRY(runner.session().use_routers(std::move(routers)));
  }
  std::vector<PieceText> texts;
  for (const Piece& piece : pieces.pieces) {
    FATHOM_TRY(PieceText text, runner.text_of(piece));
    const bool shared = pieces.groups[size_t(piece.group)].spaced;
    text.unit = shared ? -1 - std::ssize(texts) : piece.document;
    if (text.tokens.size() >= 2) texts.push_back(std::move(text));
  }
  std::vector<const PieceText*> all;
  for (const PieceText& text : texts) all.push_back(&text);
  Progress progress(options.on_progress, options.context);
  progress.begin("reading full depth's tokens", 0.5);
  FATHOM_TRY(const auto truth, true_tokens(runner, all, progress));
  progress.begin("running the policy", 0.5);
  FATHOM_TRY(const SettingRun run, run_setting(runner, all, truth, policy, pieces.groups.size(), progress));

  LossPool pool;
  for (const PieceGroup& group : pieces.groups) pool.groups.push_back(group.name);
  for (size_t t = 0; t < all.size(); ++t) {
    pool.pieces.push_back({all[t]->group, static_cast<int32_t>(all[t]->unit), {run.losses[t]}});
  }
  FATHOM_TRY(const LossTable table, table_of(pool));
  FATHOM_TRY(const std::vector<Choice> choices,
             certify_for_all(table, {.risks = {options.risk}, .confidence = options.confidence}));
  const Choice& choice = choices.front();
  const auto is_shift = [&](const std::string& group) {
    return !options.promised.empty() &&
           std::find(options.promised.begin(), options.promised.end(), group) == options.promised.end();
  };
  Recheck out;
  int64_t n_promised = 0, n_proven = 0;
  const double share = (1 - options.confidence) / double(pieces.groups.size());
  for (const GroupBound& bound : choice.certified() ? choice.passed : choice.refused) {
    std::vector<float> kept;  // its mean has an upper limit, and the loss a lower one
    for (const float loss : table.losses[0][size_t(bound.group)]) kept.push_back(1 - loss);
    FATHOM_TRY(const double upper, mean_upper(kept, share));
    const double lower = 1 - upper;
    const RecheckedGroup group{.bound = bound,
                               .lower = lower,
                               .broken = lower > options.risk,
                               .proven = bound.upper < options.risk,
                               .shift = is_shift(pieces.groups[size_t(bound.group)].name)};
    out.groups.push_back(group);
    if (group.shift) continue;
    out.broken |= group.broken;
    ++n_promised, n_proven += group.proven;
  }
  out.proven = n_promised > 0 && n_proven == n_promised;
  return out;
}

}  // namespace fathom
