// Limits: min_depth, full_depth_first, full_depth_at and full_depth_after restore, max_depth and budget cap. The limit
// furthest right has the last word. Next in the flow: policy/setting.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/layer_set.h"
#include "fathom/policy/stage.h"
#include "fathom/text/token_class.h"

namespace fathom {

/// Every row, prompt rows too, really runs its first `layers` layers: no exit before them, no skip among them.
struct min_depth {
  int32_t layers = 0;  // 1 .. n_layers; required

  static constexpr StageTraits traits{"min_depth", StageKind::limit};
  static constexpr bool never_saves = true;
  constexpr bool restores_at(int32_t layer, int32_t, RowKind) const noexcept { return layer < layers; }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer < layers) decision.verdict = Verdict::run;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const min_depth&, const min_depth&) = default;
};

/// No row goes deeper than layer `layers`.
struct max_depth {
  int32_t layers = 0;  // 1 .. n_layers; required
  On on = On::generated;

  static constexpr StageTraits traits{"max_depth", StageKind::limit};
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (layers >= 1 && step.layer >= layers && acts_on(on, step.kind)) {
      decision.verdict = decision.verdict | Verdict::exit;
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const max_depth&, const max_depth&) = default;
};

/// The generated rows of a sequence spend at most this share of their work at full depth, heads and checks included.
/// A row leaves where one layer more would pass the share; what early rows left over later rows may use.
/// It acts from boundary 1 on: a row whose first layer does not fit overspends by it, and the rows after it pay.
/// `tokens` bounds a text in an encoder: behind layer 1 no more of its tokens than that go on, those that matter most
/// by the order that prune_tokens names, by attention without.
struct budget {
  std::optional<float> of_full = {};  // above 0, at most 1; this or tokens
  int32_t tokens = 0;                 // 1 or more; 0: any number

  static constexpr StageTraits traits{"budget", StageKind::limit, Signal::token_rank};
  constexpr bool sequential() const noexcept { return of_full.has_value(); }
  constexpr SignalSet reads_at(int layer, int, RowKind kind) const noexcept {
    return tokens > 0 && layer >= 1 && kind == RowKind::generated ? traits.reads : SignalSet();
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.kind != RowKind::generated || step.layer < 1) return decision;
    if (of_full && step.work_spent + step.work_if_run > *of_full * step.work_rows) {
      decision.verdict = decision.verdict | Verdict::exit;
    }
    if (tokens > 0 && step[Signal::token_rank] >= static_cast<float>(tokens)) {
      decision.verdict = decision.verdict | Verdict::drop;
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const budget&, const budget&) = default;
};

/// The first `tokens` generated rows of a sequence run at full depth.
struct full_depth_first {
  int32_t tokens = 0;  // 1 or more; required

  static constexpr StageTraits traits{"full_depth_first", StageKind::limit};
  static constexpr bool never_saves = true;
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.kind == RowKind::generated && step.generated < tokens) decision.verdict = Verdict::run;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const full_depth_first&, const full_depth_first&) = default;
};

/// Rows whose own token is of this class run at full depth, prompt rows too: what follows a digit or a bracket is not
/// to be guessed. A row whose class is not known does as well.
///   cost     a table of the vocabulary's bytes, once a session
struct full_depth_at {
  TokenClass tokens = TokenClass::digits;  // required

  static constexpr StageTraits traits{"full_depth_at", StageKind::limit, Signal::token_class};
  static constexpr bool never_saves = true;
  constexpr SignalSet reads_at(int32_t, int32_t, RowKind) const noexcept { return Signal::token_class; }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    const float seen = step[Signal::token_class];
    if (!(seen >= 0) || seen == static_cast<float>(tokens)) decision.verdict = Verdict::run;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const full_depth_at&, const full_depth_at&) = default;
};

/// A generated row runs at full depth where the sequence's last `rows` predictions all had margins below `low_margin`:
/// a text that has become hard is read whole. The margins are those of the policy's own predictions. So it does until
/// so many predictions are known.
///   cost     the statistics of each prediction's logits; a step takes one generated row of a sequence
struct full_depth_after {
  float low_margin = 0;  // 0..1; required
  int32_t rows = 1;      // 1..kLastMargins

  static constexpr StageTraits traits{"full_depth_after", StageKind::limit, kLastMarginSignals, true};
  static constexpr bool never_saves = true;
  constexpr Signal signal() const noexcept { return last_margin_of(rows >= 1 && rows <= kLastMargins ? rows : 1); }
  constexpr SignalSet reads_at(int32_t, int32_t, RowKind kind) const noexcept {
    return kind == RowKind::generated ? SignalSet(signal()) : SignalSet();
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.kind == RowKind::generated && !(step[signal()] >= low_margin)) decision.verdict = Verdict::run;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const full_depth_after&, const full_depth_after&) = default;
};

}  // namespace fathom
