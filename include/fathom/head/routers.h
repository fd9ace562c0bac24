// Routers: what calibration fitted to tell, from a row's state alone, whether the row still needs the layers above.
// Next in the flow: engine/layer_loop.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fathom/calibrate/agreement.h"
#include "fathom/core/result.h"
#include "fathom/model/model.h"

namespace fathom {

/// The router behind one layer: a logistic model of the state, calibrated.
struct FittedRouter {
  int32_t layer = 0;           // layers behind the row, 1 .. n_layers - 1; it speaks of the layer above
  std::vector<float> weights;  // [d] of the state over its root mean square
  float bias = 0;
  AgreementMap spare = {};  // from the score to P(full depth's answer is there already)

  /// The logit before calibration; higher: less needed. NaN where the state is.
  ///   state   [d]
  ///   cost    2 d multiply-adds, in one order whatever rows are beside it
  FATHOM_API float score(std::span<const float> state) const noexcept;

  /// P(the layers above are needed for the row), 0..1. A state that is no number needs them.
  float utility(std::span<const float> state) const noexcept { return 1 - spare(score(state)); }

  bool operator==(const FittedRouter&) const = default;
};

/// Fitted routers checked against a model. Immutable, and shared by sessions.
class FATHOM_API Routers {
 public:
  ///   errors   argument: none, a layer twice, out of order or outside the model, a number that is not finite; shape:
  ///            weights that do not fit the model's states
  static Result<std::shared_ptr<const Routers>> make(const Model& model, std::vector<FittedRouter> fitted);

  /// What was fitted for rows with so many layers behind them; null: nothing.
  const FittedRouter* at(int32_t layer) const noexcept {
    const int32_t i = layer >= 0 && layer < static_cast<int32_t>(by_layer_.size()) ? by_layer_[size_t(layer)] : -1;
    return i < 0 ? nullptr : &fitted_[static_cast<size_t>(i)];
  }
  std::span<const FittedRouter> all() const noexcept { return fitted_; }
  int32_t n_layers() const noexcept { return static_cast<int32_t>(by_layer_.size()); }
  int32_t d_model() const noexcept { return d_model_; }

 private:
  int32_t d_model_ = 0;
  std::vector<FittedRouter> fitted_;
  std::vector<int32_t> by_layer_;  // [n_layers] index into fitted_; -1: none
};

}  // namespace fathom
