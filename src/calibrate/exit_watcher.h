// ExitWatcher: asks each exit of the running step for the answers of rows that predict, and of no other. Next in the
// flow: src/calibrate/exit_fitting.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "fathom/engine/layer_loop.h"

namespace fathom {

class ExitWatcher : public LayerObserver {
 public:
  explicit ExitWatcher(std::span<const int32_t> layers) : layers_(layers) {}

  void at(LayerLoop& loop, int32_t layer) noexcept final {
    const auto found = std::find(layers_.begin(), layers_.end(), layer);
    if (found == layers_.end()) return;
    which_.clear();
    for (size_t i = 0; i < loop.rows.size(); ++i) {
      if (loop.rows[i].predicts) which_.push_back(static_cast<int32_t>(i));
    }
    if (which_.empty()) return;
    stats_.resize(which_.size());
    loop.answer(which_, layer, stats_.data());
    seen(loop, static_cast<size_t>(found - layers_.begin()), which_, stats_);
  }

 protected:
  /// One exit's answers. The logits stand in loop.buffers.logits [n, vocab], and may be written over.
  ///   which    [n] rows of the step
  ///   stats    [n]
  virtual void seen(LayerLoop& loop, size_t exit, std::span<const int32_t> which,
                    std::span<const LogitStats> stats) noexcept = 0;
  std::span<const int32_t> layers() const { return layers_; }

 private:
  std::span<const int32_t> layers_;
  std::vector<int32_t> which_;
  std::vector<LogitStats> stats_;
};

}  // namespace fathom
