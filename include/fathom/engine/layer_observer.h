// LayerObserver: sees the states of a step between its layers; what calibration collects from.
// Next in the flow: engine/layer_loop.h.
#pragma once

#include <cstdint>

namespace fathom {

struct LayerLoop;

class LayerObserver {
 public:
  virtual ~LayerObserver() = default;
  /// `layer` layers are behind the rows, 1 .. n_layers. May ask the loop for answers; changes no state.
  virtual void at(LayerLoop& loop, int32_t layer) noexcept = 0;
  /// Whether at() asks where attention went in this layer (LayerLoop::attention_share).
  virtual bool reads_attention(int32_t /*layer*/) const noexcept { return false; }
};

}  // namespace fathom
