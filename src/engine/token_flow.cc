// TokenFlow: rollout, text by text.
#include "src/engine/token_flow.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace fathom {

void TokenFlow::at(LayerLoop& loop, int32_t layer, std::span<const TextRows> texts) noexcept {
  if (layer == 1) in_step_.assign(texts.size(), {});
  for (size_t i = 0; i < texts.size(); ++i) {
    Text& text = in_step_[i];
    if (layer == 1) begin(loop, texts[i], text);
    follow_removals(loop, layer - 1, texts[i], text);
    mix(loop, layer, texts[i], text);
    if (layer < loop.config.n_layers) continue;
    finish(loop, texts[i], text);
    if (trace_ != nullptr) tell(text, loop.row(static_cast<int32_t>(texts[i].first)).sequence, *trace_);
    texts_[texts[i].text].fates = std::move(text.fates);
  }
  next_.at(loop, layer, texts);
}

void TokenFlow::begin(const LayerLoop& loop, const TextRows& rows, Text& text) {
  const auto n = static_cast<size_t>(rows.n);
  text.drawn.assign(n * n, 0.0f);
  for (size_t i = 0; i < n; ++i) text.drawn[i * n + i] = 1;
  text.weight.assign(n, 1.0f);
  for (size_t i = 0; i < n; ++i) {
    text.fates.push_back({.token = loop.row(static_cast<int32_t>(rows.first) + static_cast<int32_t>(i)).token});
  }
}

// Rows join in their order, as their states did.
void TokenFlow::follow_removals(const LayerLoop& loop, int32_t behind, const TextRows& rows, Text& text) {
  const auto n = static_cast<size_t>(rows.n);
  for (size_t i = 0; i < n; ++i) {
    const RowState& row = loop.row(static_cast<int32_t>(rows.first) + static_cast<int32_t>(i));
    if (!row.removed || text.weight[i] == 0) continue;
    text.fates[i].removed_at = behind;
    const float mine = std::exchange(text.weight[i], 0.0f);
    if (row.partner < 0) continue;  // dropped
    const auto into = static_cast<size_t>(row.partner - rows.first);
    text.fates[i].joined = static_cast<int32_t>(into);
    const float part = mine / (mine + text.weight[into]);
    for (size_t c = 0; c < n; ++c) {
      float& drawn = text.drawn[into * n + c];
      drawn += part * (text.drawn[i * n + c] - drawn);
    }
    text.weight[into] += mine;
  }
}

void TokenFlow::mix(LayerLoop& loop, int32_t layer, const TextRows& rows, Text& text) const {
  const auto attended = loop.whole(layer);
  std::vector<int32_t> places, from;
  for (size_t i = 0; i < attended.size(); ++i) {
    if (attended[i] >= rows.first && attended[i] < rows.first + rows.n) places.push_back(static_cast<int32_t>(i));
  }
  if (places.empty()) return;
  const auto n = static_cast<size_t>(rows.n);
  from.assign(places.size(), 0);
  std::vector<float> shares(places.size() * n);
  loop.attention_share(layer, places, from.data(), shares.data(), rows.n);
  const std::vector<float> before = text.drawn;
  loop.pool.run(std::ssize(places), [&](int64_t p) {
    const auto r = static_cast<size_t>(attended[static_cast<size_t>(places[static_cast<size_t>(p)])] - rows.first);
    float* const drawn = text.drawn.data() + r * n;
    for (size_t c = 0; c < n; ++c) drawn[c] = before[r * n + c] / 2;
    for (size_t other = 0; other < n; ++other) {
      const RowState& row = loop.row(static_cast<int32_t>(rows.first) + static_cast<int32_t>(other));
      if (row.removed) continue;
      const float share = shares[static_cast<size_t>(p) * n + static_cast<size_t>(row.cell)] / 2;
      for (size_t c = 0; c < n; ++c) drawn[c] += share * before[other * n + c];
    }
  });
}

void TokenFlow::tell(const Text& text, int32_t sequence, Trace& trace) {
  std::vector<TraceFate> fates;
  for (const TokenFate& fate : text.fates) {
    fates.push_back({.sequence = sequence,
                     .position = static_cast<int32_t>(fates.size()),
                     .removed_at = fate.removed_at,
                     .joined = fate.joined,
                     .share = fate.share});
  }
  trace.fates(fates);
}

// The embedding is the mean of the rows that are left by what they stand for, or the first of them.
void TokenFlow::finish(const LayerLoop& loop, const TextRows& rows, Text& text) {
  const auto n = static_cast<size_t>(rows.n);
  const size_t pooled = loop.config.pooling == Pooling::mean ? n : 1;
  const float all = std::accumulate(text.weight.begin(), text.weight.begin() + std::ptrdiff_t(pooled), 0.0f);
  for (size_t r = 0; r < n; ++r) {
    if (text.weight[r] == 0) continue;
    const float* const drawn = text.drawn.data() + r * n;
    for (size_t c = 0; c < n && r < pooled; ++c) text.fates[c].share += text.weight[r] / all * drawn[c];
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    const size_t most = std::min(n, TokenFate::kSources);
    std::partial_sort(order.begin(), order.begin() + std::ptrdiff_t(most), order.end(),
                      [&](int32_t a, int32_t b) { return drawn[a] != drawn[b] ? drawn[a] > drawn[b] : a < b; });
    for (size_t i = 0; i < most; ++i) text.fates[r].sources.emplace_back(order[i], drawn[order[i]]);
  }
}

}  // namespace fathom
