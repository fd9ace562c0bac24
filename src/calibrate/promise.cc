// What is promised, in sentences. Next: certificates.cc.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/loss.h"

namespace fathom {
namespace {

// What a promise speaks of, as sentences behind it.
std::string population_of(const Pieces& pieces) {
  std::string text = fmt::format(
      " It is about stretches of {} tokens, each read without what came before it; longer ones were not looked at.",
      pieces.piece_tokens);
  for (const PieceGroup& group : pieces.groups) {
    if (!group.spaced) continue;
    text += fmt::format(" Of {} it is about the text of {} alone.", group.name,
                        group.n_documents == 1 ? "its document" : fmt::format("its {} documents", group.n_documents));
  }
  return text;
}

}  // namespace

bool GroupText::suffices() const {
  return std::equal(n_pieces.begin(), n_pieces.end(), kFewestPieces.begin(), std::greater_equal<>());
}

bool is_lossless(const Policy& policy) { return policy.is_full_depth() || policy.settings().kv == KvMode::verify; }

std::string promise_of(const Pieces& pieces, const CalibrateOptions& options) {
  std::vector<std::string> groups;
  for (const PieceGroup& group : pieces.groups) groups.push_back(group.name);
  const Loss loss(options.temperature);
  return fmt::format("With confidence {:.12g} %, {} from this model's own full depth, in each of {}{}.",
                     100 * options.confidence, loss.claim(options.risk), fmt::join(groups, ", "),
                     loss.consequence(options.risk)) +
         population_of(pieces);
}

std::string own_promise_of(std::span<const std::string> groups, const CalibrateOptions& options) {
  return fmt::format("With --group, by own settings: with confidence {:.12g} %, {} in each of {}.",
                     100 * options.confidence, Loss(options.temperature).claim(options.risk), fmt::join(groups, ", "));
}

}  // namespace fathom
