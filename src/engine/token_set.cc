// TokenSet: ranks, partners, and what becomes of rows that go.
#include "fathom/engine/token_set.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fathom/engine/layer_loop.h"
#include "fathom/sample/noise.h"

namespace fathom {
namespace {

constexpr int64_t kSideBySide = 8;  // rows that are looked at together: a kernel reads each key once for them

// Of a decision that would remove the token, what is left when it stays.
void keep(Decision& decision) {
  decision.verdict = saving_of(decision.verdict);
  if (decision.verdict == Verdict::run) decision = {};
}

// A number for a place, the same in every run.
float chance_of(int32_t position) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;
  return static_cast<float>(mix_bits(static_cast<uint64_t>(position) * kStep + kStep) >> 40);
}

}  // namespace

void TokenSet::begin(const Settings& settings) {
  settings_ = settings;
  keys_of_ = -1;
  texts_.clear();
}

void TokenSet::group(std::span<const RowState> rows) {
  if (!texts_.empty()) return;
  received_.assign(rows.size(), 0.0f);
  entropy_.assign(rows.size(), 0.0f);
  key_place_.assign(rows.size(), -1);
  place_.assign(rows.size(), -1);
  by_text_.resize(rows.size());
  text_of_.resize(rows.size());
  std::iota(by_text_.begin(), by_text_.end(), 0);
  const auto sequence = [&](int32_t r) { return rows[static_cast<size_t>(r)].sequence; };
  std::stable_sort(by_text_.begin(), by_text_.end(), [&](int32_t a, int32_t b) { return sequence(a) < sequence(b); });
  for (size_t i = 0; i < by_text_.size(); ++i) {
    if (i == 0 || sequence(by_text_[i]) != sequence(by_text_[i - 1])) texts_.push_back({.first = int64_t(i)});
    ++texts_.back().n;
    text_of_[static_cast<size_t>(by_text_[i])] = static_cast<int32_t>(texts_.size()) - 1;
  }
  protected_.assign(rows.size(), false);
  for (const Text& text : texts_) {
    const auto all = rows_of(text);
    const int64_t first = std::clamp<int64_t>(settings_.protected_first, 1, text.n);
    for (const int32_t r : all.first(static_cast<size_t>(first))) protected_[static_cast<size_t>(r)] = true;
    protected_[static_cast<size_t>(all.back())] = true;
  }
}

bool TokenSet::reads_attention(SignalSet next) const {
  return next.has(Signal::attention_lost) || (next.has(Signal::token_rank) && ranks_by_attention());
}

void TokenSet::look(LayerLoop& loop, int32_t layer, SignalSet next) {
  if (!next.any(kTokenSignals)) return;
  group(loop.rows);
  keys_of_ = layer;
  const auto write = loop.active.write();
  std::fill(key_place_.begin(), key_place_.end(), -1);
  for (size_t i = 0; i < write.size(); ++i) key_place_[static_cast<size_t>(write[i])] = static_cast<int32_t>(i);
  if (!reads_attention(next)) return;

  const auto attended = loop.whole(layer);
  std::fill(place_.begin(), place_.end(), -1);
  for (size_t i = 0; i < attended.size(); ++i) place_[static_cast<size_t>(attended[i])] = static_cast<int32_t>(i);
  for (const int32_t r : loop.active.attend().subspan(attended.size())) text_of(r).silenced_at = layer;
  for (Text& text : texts_) {
    if (text.silenced_at != layer) look_at(loop, layer, text);
  }
}

// What a text's rows say when some of their heads are silent is no mean over heads: it is not known.
void TokenSet::look_at(LayerLoop& loop, int32_t layer, Text& text) {
  cells_.clear();
  for (const int32_t r : rows_of(text)) {
    received_[static_cast<size_t>(r)] = 0;
    if (!loop.row(r).removed) cells_.push_back(r);
  }
  choose_looked(text);
  if (looked_.empty()) return;
  text.looked_at = layer;
  const bool by_entropy = settings_.rank_by == TokenOrder::entropy;
  const auto stride = static_cast<size_t>(std::max(loop.row(rows_of(text)[0]).last_cell + 1, 1));
  const auto attended = loop.whole(layer);
  const auto all = static_cast<float>(looked_.size());
  for (size_t first = 0; first < looked_.size(); first += kMostLooked) {
    const auto some = std::span(looked_).subspan(first, std::min<size_t>(kMostLooked, looked_.size() - first));
    from_.assign(some.size(), 0);
    shares_.resize(some.size() * stride);
    loop.attention_share(layer, some, from_.data(), shares_.data(), static_cast<int64_t>(stride));
    for (size_t i = 0; i < some.size(); ++i) {
      const float* const share = shares_.data() + i * stride;
      double entropy = 0;
      for (const int32_t r : cells_) {
        const float p = share[loop.row(r).cell];
        received_[static_cast<size_t>(r)] += p / all;
        if (by_entropy && p > 0) entropy -= double(p) * std::log(double(p));
      }
      entropy_[static_cast<size_t>(attended[static_cast<size_t>(some[i])])] = static_cast<float>(entropy);
    }
  }
  const double cost = loop.work.attention_share(layer) * static_cast<double>(all);  // of each: its cell in all rows
  for (const int32_t r : cells_) loop.row(r).macs += cost;
}

// Rows of a text whose attention is looked at: all of a short one, and stretches of a long one at even distances.
void TokenSet::choose_looked(const Text& text) {
  looked_.clear();
  std::vector<int32_t> attended;
  for (const int32_t r : rows_of(text)) {
    if (place_[static_cast<size_t>(r)] >= 0) attended.push_back(place_[static_cast<size_t>(r)]);
  }
  const auto n = std::ssize(attended);
  const int64_t stretches = (n + kSideBySide - 1) / kSideBySide;
  const bool all = n <= kMostLooked || settings_.rank_by == TokenOrder::entropy;
  const int64_t taken = all ? stretches : kMostLooked / kSideBySide;
  for (int64_t s = 0; s < taken; ++s) {
    const int64_t begin = s * stretches / taken * kSideBySide;
    for (int64_t i = begin; i < std::min(begin + kSideBySide, n); ++i) looked_.push_back(attended[size_t(i)]);
  }
}

float TokenSet::worth(const LayerLoop& loop, int32_t row) const {
  const auto r = static_cast<size_t>(row);
  switch (settings_.rank_by) {
    case TokenOrder::attention:
      return received_[r];
    case TokenOrder::entropy:
      return -entropy_[r];
    case TokenOrder::norm: {
      double square = 0;
      for (const float x : loop.buffers.state(row)) square += double(x) * double(x);
      return static_cast<float>(square);
    }
    case TokenOrder::recent:
      return static_cast<float>(loop.row(row).position);
    case TokenOrder::random:
      return chance_of(loop.row(row).position);
  }
  return 0;
}

void TokenSet::tell(LayerLoop& loop, int32_t layer, SignalSet reads, std::span<Step> steps) {
  group(loop.rows);
  if (layer == 0 && reads.any(kMergeSignals)) pair_neighbours(loop, steps);
  loop.pool.run(std::ssize(texts_), [&](int64_t t) {
    const Text& text = texts_[static_cast<size_t>(t)];
    std::vector<int32_t> left;  // of the text, still running
    for (const int32_t r : rows_of(text)) {
      const RowState& row = loop.row(r);
      if (!row.removed && row.left_at == kStays) left.push_back(r);
    }
    for (const int32_t r : left) {
      if (layer > 0) loop.row(r).partner = -1;
      if (text.looked_at != layer) received_[static_cast<size_t>(r)] = 0;
      steps[static_cast<size_t>(r)].set(Signal::tokens_left, static_cast<float>(left.size()));
      steps[static_cast<size_t>(r)].set(Signal::tokens_read, static_cast<float>(text.n));
    }
    std::erase_if(left, [&](int32_t r) { return is_protected(r); });
    if (layer > 0 && reads.any(kAttentionRankSignals)) rank(loop, layer, text, left, steps);
    if (layer > 0 && layer == keys_of_ && reads.any(kMergeSignals)) pair(loop, layer, left, steps);
  });
}

// left: those that may go.
void TokenSet::rank(LayerLoop& loop, int32_t layer, const Text& text, std::span<const int32_t> left,
                    std::span<Step> steps) const {
  const bool looked = text.looked_at == layer;
  const bool ranks = looked || !ranks_by_attention();
  std::vector<std::pair<float, int32_t>> order;  // from what matters most on
  for (const int32_t r : left) {
    if (settings_.rank_by == TokenOrder::norm) loop.row(r).macs += loop.config.d_model;
    const float w = worth(loop, r);
    order.emplace_back(std::isnan(w) ? std::numeric_limits<float>::infinity() : w, r);  // such a text fails as a whole
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  const auto n_protected = std::count_if(rows_of(text).begin(), rows_of(text).end(), [&](int32_t r) {
    return !loop.row(r).removed && loop.row(r).left_at == kStays && is_protected(r);
  });
  double behind = 0;
  for (size_t i = order.size(); i-- > 0;) {
    const auto r = static_cast<size_t>(order[i].second);
    behind += double(received_[r]);
    if (ranks) steps[r].set(Signal::token_rank, static_cast<float>(n_protected + int64_t(i)));
    const double lost = 1 - (1 - double(text.lost)) * (1 - std::min(behind, 1.0));
    if (looked) steps[r].set(Signal::attention_lost, static_cast<float>(lost));
  }
}

// Every other token looks for the likest of those between: bipartite matching on keys.
void TokenSet::pair(LayerLoop& loop, int32_t layer, std::span<const int32_t> left, std::span<Step> steps) const {
  const LayerSpec& spec = loop.spec_of(layer);
  const int64_t cols = int64_t{spec.kv_heads} * spec.head_dim;
  std::vector<int32_t> ends[2];  // rows: those that are joined, and those that look
  std::vector<int32_t> keys[2];  // of them
  std::vector<double> lengths[2];
  for (const int32_t r : left) {
    const int32_t key = key_place_[static_cast<size_t>(r)];
    if (key < 0) continue;
    const size_t side = ends[0].size() > ends[1].size();
    float square = 0;
    loop.kernels.dots.run({loop.buffers.k, &key, loop.buffers.k, &key, 1, cols, &square}, 0, 1);
    loop.row(r).macs += double(cols);
    ends[side].push_back(r);
    keys[side].push_back(key);
    lengths[side].push_back(std::sqrt(double(square)));
  }
  const size_t n = ends[1].size(), n_ends = ends[0].size();
  std::vector<float> dots(n * n_ends);
  loop.kernels.dots.run(
      {loop.buffers.k, keys[1].data(), loop.buffers.k, keys[0].data(), int64_t(n_ends), cols, dots.data()}, 0,
      int64_t(n));
  std::vector<std::pair<float, int32_t>> order;  // from the likest on
  for (size_t i = 0; i < n; ++i) {
    float most = -2;
    for (size_t j = 0; j < n_ends; ++j) {
      const double lengths_of_both = lengths[1][i] * lengths[0][j];
      const float cosine = lengths_of_both == 0 ? 0 : float(double(dots[i * n_ends + j]) / lengths_of_both);
      if (cosine > most) {
        most = cosine;
        loop.row(ends[1][i]).partner = ends[0][j];
      }
    }
    if (most >= -1.5f) order.emplace_back(most, ends[1][i]);  // a NaN has no partner
    loop.row(ends[1][i]).macs += double(n_ends * size_t(cols));
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
  for (size_t i = 0; i < order.size(); ++i) {
    steps[size_t(order[i].second)].set(Signal::merge_rank, float(i));
    steps[size_t(order[i].second)].set(Signal::likeness, order[i].first);
  }
}

// Before layer 1 a token's partner is the one before it, and they are compared as they are embedded, without places.
void TokenSet::pair_neighbours(LayerLoop& loop, std::span<Step> steps) {
  const Tensor& table = loop.weights.embedding;
  const auto d = static_cast<size_t>(loop.config.d_model);
  for (const Text& text : texts_) {
    std::vector<float> now(d), before(d);
    int32_t last = -1;
    for (const int32_t r : rows_of(text)) {
      RowState& row = loop.row(r);
      const auto embed = [&](const RowState& of, std::vector<float>& dst) {
        const int32_t id = of.token;
        loop.kernels.embed.run({table.type, table.data, table.cols, &id, loop.config.embedding_scale, dst.data()}, 0,
                               1);
      };
      if (!is_protected(r) && last >= 0) {
        row.partner = last;
        float likeness = 1;
        if (loop.row(last).token != row.token && !both_noise(loop, row, loop.row(last))) {
          embed(row, now);
          embed(loop.row(last), before);
          loop.kernels.similarity.run({now.data(), nullptr, before.data(), int64_t(d), &likeness}, 0, 1);
          likeness = std::min(likeness, std::nextafter(1.0f, 0.0f));  // 1 is the same token
        }
        steps[static_cast<size_t>(r)].set(Signal::likeness, likeness);
        row.macs += loop.work.cosine();
      }
      last = is_protected(r) ? -1 : r;
    }
  }
}

bool TokenSet::both_noise(const LayerLoop& loop, const RowState& a, const RowState& b) const {
  if (settings_.noise < 0 || loop.classes == nullptr) return false;
  const auto is_noise = [&](const RowState& row) {
    return static_cast<int8_t>(loop.classes[row.token]) == settings_.noise;
  };
  return is_noise(a) && is_noise(b);
}

bool TokenSet::can_go(const LayerLoop& loop, int32_t row, Verdict verdict) const {
  if (!loop.config.encodes() || is_protected(row)) return false;
  return drops(verdict) || loop.row(row).partner >= 0;
}

void TokenSet::act(LayerLoop& loop, std::span<const int32_t> which, std::span<Decision> decided) {
  bool any = std::any_of(decided.begin(), decided.end(), [](const Decision& d) { return removes(d.verdict); });
  if (!any) return;
  group(loop.rows);
  any = false;
  for (size_t i = 0; i < which.size(); ++i) {
    if (!removes(decided[i].verdict)) continue;
    if (!can_go(loop, which[i], decided[i].verdict)) {
      keep(decided[i]);
      continue;
    }
    any = true;
  }
  if (!any) return;
  for (Text& text : texts_) text.dropping = 0;
  for (size_t i = 0; i < which.size(); ++i) {
    if (!drops(decided[i].verdict)) continue;
    Text& text = text_of(which[i]);
    RowState& row = loop.row(which[i]);
    row.removed = true;
    row.partner = -1;
    text.changed = true;
    text.dropping += received_[static_cast<size_t>(which[i])];
  }
  for (Text& text : texts_) text.lost = 1 - (1 - text.lost) * (1 - std::min(text.dropping, 1.0f));
  for (size_t i = 0; i < which.size(); ++i) {
    if (!merges(decided[i].verdict)) continue;
    if (join(loop, which[i])) {
      text_of(which[i]).changed = true;
    } else {
      keep(decided[i]);
    }
  }
  for (Text& text : texts_) {
    if (text.changed) close_up(loop, text);
    text.changed = false;
  }
}

// Rows come in their order, so a partner that has joined another one did so before. Nobody joins one that was dropped.
bool TokenSet::join(LayerLoop& loop, int32_t row) const {
  RowState& goes = loop.row(row);
  while (loop.row(goes.partner).removed && loop.row(goes.partner).partner >= 0) {
    goes.partner = loop.row(goes.partner).partner;
  }
  RowState& stays = loop.row(goes.partner);
  if (stays.removed) return false;
  goes.removed = true;
  const float both = goes.stands_for + stays.stands_for, part = goes.stands_for / both;
  const auto from = loop.buffers.state(row);
  const auto into = loop.buffers.state(goes.partner);
  for (size_t c = 0; c < into.size(); ++c) into[c] += part * (from[c] - into[c]);
  stays.stands_for = both;
  goes.macs += loop.config.d_model;
  return true;
}

// What is left has its cells side by side, and none of them is what full depth has.
void TokenSet::close_up(LayerLoop& loop, const Text& text) const {
  int32_t cells = 0;
  for (const int32_t r : rows_of(text)) {
    RowState& row = loop.row(r);
    if (!row.removed) row.cell = cells++;
    row.exact = false;
  }
  for (const int32_t r : rows_of(text)) loop.row(r).last_cell = cells - 1;
}

}  // namespace fathom
