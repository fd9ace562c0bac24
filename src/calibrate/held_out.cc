// Keeping pieces from a fit.
#include "src/calibrate/held_out.h"

namespace fathom {

std::vector<bool> held_out(std::span<const PieceText* const> texts, size_t n_groups) {
  constexpr size_t kEvery = 3;
  std::vector<size_t> seen(n_groups);
  std::vector<bool> out;
  for (const PieceText* text : texts) out.push_back(seen[size_t(text->group)]++ % kEvery == kEvery - 1);
  return out;
}

FitSplit split_for_fit(std::span<const PieceText* const> texts, size_t n_groups) {
  const std::vector<bool> kept = held_out(texts, n_groups);
  FitSplit out;
  for (size_t t = 0; t < texts.size(); ++t) (kept[t] ? out.held_out : out.fit).push_back(texts[t]);
  return out;
}

}  // namespace fathom
