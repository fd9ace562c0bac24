// ExitWatcher: asks each exit of the running step for its answer. Next in the flow: src/calibrate/exit_fitting.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "fathom/engine/layer_loop.h"

namespace fathom {

class ExitWatcher : public LayerObserver {
 public:
  explicit ExitWatcher(std::span<const int32_t> layers) : layers_(layers) {}

  void at(LayerLoop& loop, int32_t layer) noexcept final {
    const auto found = std::find(layers_.begin(), layers_.end(), layer);
    if (found == layers_.end() || loop.rows.empty() || !loop.rows[0].predicts) return;
    which_.resize(loop.rows.size());
    std::iota(which_.begin(), which_.end(), 0);
    stats_.resize(loop.rows.size());
    loop.answer(which_, layer, stats_.data());
    seen(loop, static_cast<size_t>(found - layers_.begin()), stats_);
  }

 protected:
  /// One exit's answers for all rows of the step; the logits stand in loop.buffers.logits [rows, vocab].
  virtual void seen(LayerLoop& loop, size_t exit, std::span<const LogitStats> stats) noexcept = 0;
  std::span<const int32_t> layers() const { return layers_; }

 private:
  std::span<const int32_t> layers_;
  std::vector<int32_t> which_;
  std::vector<LogitStats> stats_;
};

}  // namespace fathom
