// What is promised, in sentences. Next: certificates.cc.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/loss.h"

namespace fathom {

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
                     loss.consequence(options.risk));
}

std::string own_promise_of(std::span<const std::string> groups, const CalibrateOptions& options) {
  return fmt::format("With --group, by own settings: with confidence {:.12g} %, {} in each of {}.",
                     100 * options.confidence, Loss(options.temperature).claim(options.risk), fmt::join(groups, ", "));
}

}  // namespace fathom
