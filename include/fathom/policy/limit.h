// Limits: min_depth and full_depth_first restore, max_depth and budget cap. The limit furthest right has the last word.
// Next in the flow: policy/setting.h.
#pragma once

#include <cstdint>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/layer_set.h"
#include "fathom/policy/stage.h"

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
    if (layers >= 1 && step.layer >= layers && acts_on(on, step.kind)) decision.verdict = Verdict::exit;
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const max_depth&, const max_depth&) = default;
};

/// The generated rows of a sequence spend at most this share of their work at full depth, heads and checks included.
/// A row leaves where one layer more would pass the share; what early rows left over later rows may use.
/// It acts from boundary 1 on: a row whose first layer does not fit overspends by it, and the rows after it pay.
struct budget {
  float of_full = 0;  // above 0, at most 1; required

  static constexpr StageTraits traits{"budget", StageKind::limit, {}, true};
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    const bool counts = step.kind == RowKind::generated && step.layer >= 1;
    if (counts && step.work_spent + step.work_if_run > of_full * step.work_rows) decision.verdict = Verdict::exit;
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

}  // namespace fathom
