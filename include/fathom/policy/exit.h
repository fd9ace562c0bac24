// Proposals that let a row leave: exit_at, exit_when, patience. Text, ranges and costs: docs/policies.md.
// Next in the flow: policy/skip.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/layer_set.h"
#include "fathom/policy/stage.h"

namespace fathom {

/// True at boundaries from_layer, from_layer + every, ...
constexpr bool checks_at(int32_t layer, int32_t from_layer, int32_t every) {
  return layer >= 1 && layer >= from_layer && every >= 1 && (layer - from_layer) % every == 0;
}

/// Leaves after layer `layer`, or as soon after it as a limit lets the row go.
///   cost     no check; the head at the exit replaces the head at the end
struct exit_at {
  int32_t layer = 0;  // 1 .. n_layers; required
  On on = On::generated;

  static constexpr StageTraits traits{"exit_at", StageKind::proposal};
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (layer >= 1 && step.layer >= layer && acts_on(on, step.kind)) decision.verdict = Verdict::exit;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const exit_at&, const exit_at&) = default;
};

/// Leaves where every condition that is named holds. Four have names of their own; `signal` names any signal, and
/// at_least and below bound it. Raw values, but for agreement: that is calibrated, and no row leaves by it at a layer
/// for which nothing was fitted.
///   cost     at each boundary from_layer, from_layer + every, ...: final norm and LM head for the row where a signal
///   of
///            this layer's own answer is named (kExitSignals); what docs/policies.md says of any other
struct exit_when {
  std::optional<float> confidence_at_least = {};  // 0..1; at least one condition
  std::optional<float> margin_at_least = {};      // 0..1
  std::optional<float> entropy_below = {};        // nats, 0..20
  std::optional<float> agreement_at_least = {};   // 0..1; needs a session with fitted exits (Session::use)
  Signal signal = kNoSignal;                      // what the two below are about
  std::optional<float> at_least = {};
  std::optional<float> below = {};
  int32_t from_layer = 1;
  int32_t every = 1;
  On on = On::generated;

  static constexpr StageTraits traits{"exit_when", StageKind::proposal, SignalSet::all()};
  constexpr bool bounds_signal() const { return is_signal(signal) && (at_least || below); }
  constexpr bool named() const {
    return confidence_at_least || margin_at_least || entropy_below || agreement_at_least || bounds_signal();
  }
  /// What it reads needs the rows of a sequence one after another.
  constexpr bool sequential() const noexcept { return bounds_signal() && kHistorySignals.has(signal); }
  constexpr SignalSet reads_at(int32_t layer, int32_t, RowKind kind) const noexcept {
    SignalSet set;
    if (!checks_at(layer, from_layer, every) || !acts_on(on, kind)) return set;
    if (confidence_at_least) set = set | Signal::exit_confidence;
    if (margin_at_least) set = set | Signal::exit_margin;
    if (entropy_below) set = set | Signal::exit_entropy;
    if (agreement_at_least) set = set | Signal::agreement;
    if (bounds_signal()) set = set | signal;
    return set;
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (!named() || !checks_at(step.layer, from_layer, every) || !acts_on(on, step.kind)) return decision;
    const bool holds = (!confidence_at_least || step[Signal::exit_confidence] >= *confidence_at_least) &&
                       (!margin_at_least || step[Signal::exit_margin] >= *margin_at_least) &&
                       (!entropy_below || step[Signal::exit_entropy] < *entropy_below) &&
                       (!agreement_at_least || step[Signal::agreement] >= *agreement_at_least) &&
                       (!at_least || (is_signal(signal) && step[signal] >= *at_least)) &&
                       (!below || (is_signal(signal) && step[signal] < *below));
    if (holds) decision.verdict = Verdict::exit;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const exit_when&, const exit_when&) = default;
};

/// Leaves once `agreeing` checks in a row gave the same token.
///   cost     as exit_when
///   source   Zhou et al. 2020 (PABEE), with patience per row
struct patience {
  int32_t agreeing = 0;  // 2..1024; required
  int32_t from_layer = 1;
  int32_t every = 1;
  On on = On::generated;

  static constexpr StageTraits traits{"patience", StageKind::proposal, Signal::agreeing};
  constexpr SignalSet reads_at(int32_t layer, int32_t, RowKind kind) const noexcept {
    return checks_at(layer, from_layer, every) && acts_on(on, kind) ? SignalSet(Signal::agreeing) : SignalSet();
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (agreeing >= 1 && checks_at(step.layer, from_layer, every) && acts_on(on, step.kind) &&
        step[Signal::agreeing] >= static_cast<float>(agreeing)) {
      decision.verdict = Verdict::exit;
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const patience&, const patience&) = default;
};

}  // namespace fathom
