// Isotonic regression by pooling adjacent violators, and its few knots.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "fathom/calibrate/agreement.h"
#include "src/calibrate/matrix.h"

namespace fathom {

namespace {

constexpr int64_t kLeastRows = 8;  // a share of fewer rows is hardly one

IsotonicBlock joined(const IsotonicBlock& a, const IsotonicBlock& b) {
  const double n = static_cast<double>(a.n + b.n), share = static_cast<double>(b.n) / n;
  return {
      .score = a.score + share * (b.score - a.score), .value = a.value + share * (b.value - a.value), .n = a.n + b.n};
}

// Squared error that joining adds.
double price(const IsotonicBlock& a, const IsotonicBlock& b) {
  const double between = b.value - a.value, na = static_cast<double>(a.n), nb = static_cast<double>(b.n);
  return between * between * na * nb / (na + nb);
}

// Joins block i with its cheaper neighbour.
void join_at(std::vector<IsotonicBlock>& blocks, size_t i) {
  const bool last = i + 1 == blocks.size();
  if (i > 0 && (last || price(blocks[i - 1], blocks[i]) <= price(blocks[i], blocks[i + 1]))) --i;
  blocks[i] = joined(blocks[i], blocks[i + 1]);
  blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(i) + 1);
}

}  // namespace

Result<std::vector<IsotonicBlock>> fit_isotonic(std::span<const float> scores, std::span<const float> agreed) {
  if (scores.empty()) return Error{ErrorCode::argument, "scores: no rows: pass some"};
  FATHOM_TRY(check_rows("scores", scores, 1));
  FATHOM_TRY(check_shares("agreed", agreed, scores.size()));
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  // Sums are divided at the end, so that among labels, which are whole, a violation is seen exactly.
  struct Pool {
    double scores, ones, n;
  };
  std::vector<Pool> pools;
  for (size_t at = 0; at < order.size();) {
    const float score = scores[order[at]];
    Pool pool{0, 0, 0};
    for (; at < order.size() && scores[order[at]] == score; ++at) pool.ones += agreed[order[at]], pool.n += 1;
    pool.scores = pool.n * score;
    while (!pools.empty() && pools.back().ones * pool.n >= pool.ones * pools.back().n) {
      pool = {pools.back().scores + pool.scores, pools.back().ones + pool.ones, pools.back().n + pool.n};
      pools.pop_back();
    }
    pools.push_back(pool);
  }
  std::vector<IsotonicBlock> blocks;
  for (const Pool& pool : pools) {
    blocks.push_back({.score = pool.scores / pool.n, .value = pool.ones / pool.n, .n = static_cast<int64_t>(pool.n)});
  }
  return blocks;
}

AgreementMap to_agreement_map(std::span<const IsotonicBlock> source) {
  FATHOM_ASSERT(!source.empty());
  std::vector<IsotonicBlock> blocks(source.begin(), source.end());
  const double n = static_cast<double>(
      std::accumulate(blocks.begin(), blocks.end(), int64_t{0}, [](int64_t sum, const auto& b) { return sum + b.n; }));
  for (size_t i = 0; i < blocks.size() && blocks.size() > 1;) {
    if (blocks[i].n >= kLeastRows) {
      ++i;
      continue;
    }
    join_at(blocks, i);
    if (i > 0) --i;
  }
  while (blocks.size() > AgreementMap::kMaxKnots) {
    size_t cheapest = 0;
    for (size_t i = 1; i + 1 < blocks.size(); ++i) {
      if (price(blocks[i], blocks[i + 1]) < price(blocks[cheapest], blocks[cheapest + 1])) cheapest = i;
    }
    blocks[cheapest] = joined(blocks[cheapest], blocks[cheapest + 1]);
    blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(cheapest) + 1);
  }
  AgreementMap map;
  for (const IsotonicBlock& block : blocks) {
    const auto score = static_cast<float>(block.score);
    auto probability = static_cast<float>(std::clamp(block.value, 1 / (n + 2), (n + 1) / (n + 2)));
    const auto at = static_cast<size_t>(map.n_knots);
    if (at > 0 && score <= map.scores[at - 1]) continue;                       // means of scores that are one f32
    if (at > 0) probability = std::max(probability, map.probability[at - 1]);  // joining rounds
    map.scores[at] = score;
    map.probability[at] = probability;
    ++map.n_knots;
  }
  return map;
}

}  // namespace fathom
