// Attribution: an observer that asks each layer where its rows looked.
#include "src/calibrate/attribution.h"

#include <algorithm>
#include <cmath>

#include "fathom/engine/layer_loop.h"

namespace fathom {
namespace {

class AttentionWatcher final : public LayerObserver {
 public:
  ///   seen    [places]
  AttentionWatcher(int32_t lead, std::vector<std::vector<Looked>>& seen) : lead_(lead), seen_(seen) {}

  bool reads_attention(int32_t /*layer*/) const noexcept override { return true; }
  void at(LayerLoop& loop, int32_t layer) noexcept override {
    const auto attend = loop.whole(layer);
    which_.clear();
    from_.clear();
    int32_t most = 0;  // cells of a row
    for (size_t i = 0; i < attend.size(); ++i) {
      const RowState& row = loop.row(attend[i]);
      if (row.kind != RowKind::generated) continue;
      which_.push_back(static_cast<int32_t>(i));
      from_.push_back(std::max(lead_, loop.buffers.views[i].begin));
      most = std::max(most, row.position + 1 - from_.back());
    }
    if (which_.empty()) return;
    shares_.resize(which_.size() * static_cast<size_t>(most));
    loop.attention_share(layer, which_, from_.data(), shares_.data(), most);
    for (size_t i = 0; i < which_.size(); ++i) {
      const int32_t position = loop.row(attend[static_cast<size_t>(which_[i])]).position;
      keep(layer, position, from_[i],
           {shares_.data() + i * static_cast<size_t>(most), size_t(position + 1 - from_[i])});
    }
  }

 private:
  void keep(int32_t layer, int32_t position, int32_t from, std::span<const float> shares) {
    Looked looked{.layer = layer, .to = {}};
    for (size_t c = 0; c < shares.size(); ++c) looked.to.emplace_back(from + int32_t(c) - lead_, shares[c]);
    const size_t n = std::min(kMostLooked, looked.to.size());
    std::partial_sort(
        looked.to.begin(), looked.to.begin() + std::ptrdiff_t(n), looked.to.end(),
        [](const auto& a, const auto& b) { return std::pair(-a.second, a.first) < std::pair(-b.second, b.first); });
    looked.to.resize(n);
    seen_[static_cast<size_t>(position - lead_)].push_back(std::move(looked));
  }

  int32_t lead_;
  std::vector<std::vector<Looked>>& seen_;
  std::vector<int32_t> which_, from_;
  std::vector<float> shares_;
};

}  // namespace

Result<Attribution> attribute(PieceRunner& runner, const PieceText& text, const Policy& policy) {
  Attribution out{.rows = std::vector<std::vector<Looked>>(static_cast<size_t>(text.places())), .said = {}};
  AttentionWatcher watcher(static_cast<int32_t>(text.lead.size()), out.rows);
  runner.session().observe(&watcher);
  const Result<void> run = runner.run(text, policy, [&](const PieceStep& step) {
    for (const LogitStats& stats : step.stats) out.said.push_back(stats.argmax);
  });
  runner.session().observe(nullptr);
  FATHOM_TRY(run);
  return out;
}

std::vector<Looked> at_three_depths(const std::vector<Looked>& row, float depth) {
  std::vector<Looked> out;
  const int32_t decided = static_cast<int32_t>(std::ceil(depth));
  for (const int32_t wanted : {(decided + 3) / 4, (decided + 1) / 2, decided}) {
    const Looked* best = nullptr;  // the deepest that attended up to there
    for (const Looked& looked : row) {
      if (looked.layer <= wanted) best = &looked;
    }
    if (best != nullptr && (out.empty() || out.back().layer < best->layer)) out.push_back(*best);
  }
  return out;
}

}  // namespace fathom
