// Proposals that skip a layer or a half of it and go on: skip_layers, skip_sublayers, skip_when.
// Next in the flow: policy/route.h.
#pragma once

#include <cstdint>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/layer_set.h"
#include "fathom/policy/stage.h"

namespace fathom {

/// What of a layer a stage skips.
enum class Part : uint8_t { layer, attention, feed_forward };

/// Skips the named layers; the decision about layer l falls at boundary l - 1.
///   cost     none; the skipped layer's KV cells are filled from the state that passed it
struct skip_layers {
  LayerSet layers = {};  // at least one
  On on = On::generated;

  static constexpr StageTraits traits{"skip_layers", StageKind::proposal};
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (layers.has(step.layer + 1) && acts_on(on, step.kind)) decision.verdict = decision.verdict | Verdict::skip_layer;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const skip_layers&, const skip_layers&) = default;
};

/// Skips the attention of some layers and the feed-forward half of others.
///   cost     none; where attention is skipped the layer's KV cells are filled
struct skip_sublayers {
  LayerSet attention = {};  // at least one layer in one of the two
  LayerSet feed_forward = {};
  On on = On::generated;

  static constexpr StageTraits traits{"skip_sublayers", StageKind::proposal};
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (!acts_on(on, step.kind)) return decision;
    if (attention.has(step.layer + 1)) decision.verdict = decision.verdict | Verdict::skip_attention;
    if (feed_forward.has(step.layer + 1)) decision.verdict = decision.verdict | Verdict::skip_feed_forward;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const skip_sublayers&, const skip_sublayers&) = default;
};

/// Skips the next layer, or a half of it, when the same part of the layer just run left the state almost unchanged.
/// After a skip there is nothing to compare, so the next layer runs: at most every second part is skipped.
///   cost     a cosine for each row and boundary: 3 * d_model multiply-adds
struct skip_when {
  float similarity_above = 1.0f;  // cosine, -1..1; required in text
  Part part = Part::layer;
  int32_t from_layer = 1;  // first boundary that may skip
  On on = On::generated;

  static constexpr StageTraits traits{
      "skip_when", StageKind::proposal,
      SignalSet(Signal::similarity) | Signal::similarity_attention | Signal::similarity_feed_forward};
  constexpr Signal signal() const {
    return part == Part::layer       ? Signal::similarity
           : part == Part::attention ? Signal::similarity_attention
                                     : Signal::similarity_feed_forward;
  }
  constexpr Verdict verdict() const {
    return part == Part::layer       ? Verdict::skip_layer
           : part == Part::attention ? Verdict::skip_attention
                                     : Verdict::skip_feed_forward;
  }
  constexpr bool looks_at(int32_t layer, RowKind kind) const {
    return layer >= 1 && layer >= from_layer && acts_on(on, kind);
  }
  constexpr SignalSet reads_at(int32_t layer, int32_t, RowKind kind) const noexcept {
    return looks_at(layer, kind) ? SignalSet(signal()) : SignalSet();
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (looks_at(step.layer, step.kind) && step[signal()] > similarity_above) {
      decision.verdict = decision.verdict | verdict();
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const skip_when&, const skip_when&) = default;
};

}  // namespace fathom
