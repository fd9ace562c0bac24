// Choosing places: even steps through a group's texts as if they were one.
#include "src/calibrate/place_sample.h"

#include <numeric>

namespace fathom {
namespace {

constexpr int64_t kEach = 16;  // places of a text, at least

}  // namespace

std::vector<std::vector<int32_t>> spread_places(std::span<const PieceText* const> texts, size_t n_groups,
                                                int64_t most) {
  const int64_t share = most / static_cast<int64_t>(n_groups);
  std::vector<int64_t> total(n_groups), asked(n_groups), passed(n_groups);
  std::vector<bool> is_asked;
  for (const PieceText* text : texts) {
    const auto group = size_t(text->group);
    is_asked.push_back(total[group] < share || asked[group] < share / kEach);
    if (is_asked.back()) total[group] += text->places(), ++asked[group];
  }
  std::vector<std::vector<int32_t>> places(texts.size());
  for (size_t t = 0; t < texts.size(); ++t) {
    if (!is_asked[t]) continue;
    const auto group = size_t(texts[t]->group);
    for (int32_t p = 0; p < texts[t]->places(); ++p) {
      const int64_t k = passed[group]++;
      if (total[group] <= share || (k + 1) * share / total[group] > k * share / total[group]) places[t].push_back(p);
    }
  }
  return places;
}

std::vector<std::vector<int32_t>> first_places(std::span<const PieceText* const> texts, size_t n_groups, int64_t most) {
  const int64_t share = most / static_cast<int64_t>(n_groups);
  std::vector<int64_t> taken(n_groups);
  std::vector<std::vector<int32_t>> places(texts.size());
  for (size_t t = 0; t < texts.size(); ++t) {
    int64_t& n = taken[size_t(texts[t]->group)];
    if (n > 0 && n + texts[t]->places() > share) continue;
    n += texts[t]->places();
    places[t].resize(size_t(texts[t]->places()));
    std::iota(places[t].begin(), places[t].end(), 0);
  }
  return places;
}

}  // namespace fathom
