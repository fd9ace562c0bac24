// The proposal that asks a router: rows that do not need the coming layer run the named part of it, or nothing.
// Next in the flow: policy/silence.h.
#pragma once

#include <cstdint>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/layer_set.h"
#include "fathom/policy/stage.h"

namespace fathom {

/// What of a layer a light row still runs.
enum class Light : uint8_t { none, feed_forward, attention };

/// Rows whose predicted utility lies below a threshold take the light way through the coming layer. Each layer asks
/// again, so that a row may go back to the deep way. At layers for which no router was fitted every row runs.
///   cost     2 d_model multiply-adds for each row and router, and no head; where attention is skipped the layer's KV
///            cells are filled. Needs a session with routers (Session::use_routers)
struct route {
  float utility_below = 0;  // 0..1; required: 0 saves nothing
  Light light = Light::none;
  int32_t from_layer = 1;
  On on = On::generated;

  static constexpr StageTraits traits{"route", StageKind::proposal, Signal::utility};
  constexpr Verdict verdict() const {
    return light == Light::none           ? Verdict::skip_layer
           : light == Light::feed_forward ? Verdict::skip_attention
                                          : Verdict::skip_feed_forward;
  }
  constexpr bool looks_at(int32_t layer, RowKind kind) const {
    return layer >= 1 && layer >= from_layer && acts_on(on, kind);
  }
  constexpr SignalSet reads_at(int32_t layer, int32_t, RowKind kind) const noexcept {
    return looks_at(layer, kind) ? SignalSet(Signal::utility) : SignalSet();
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (looks_at(step.layer, step.kind) && step[Signal::utility] < utility_below) {
      decision.verdict = decision.verdict | verdict();
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const route&, const route&) = default;
};

}  // namespace fathom
