// silence_heads: a proposal that lets some query heads of some layers say nothing, or less.
// Next in the flow: policy/tokens.h.
#pragma once

#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/head_set.h"
#include "fathom/policy/stage.h"

namespace fathom {

/// Scales what the named heads add. With factor 0 their rows of q, their columns of o and, where a whole KV group is
/// silent, its cells are not read. Given once in a policy, since its heads configure the step. The layer's keys and
/// values are those that the row's state gives, as at full depth: no later row meets a hole.
///   cost     less than none with factor 0; with any other that of full depth
struct silence_heads {
  HeadSet heads = {};  // at least one
  float factor = 0;    // 0..1
  On on = On::generated;

  static constexpr StageTraits traits{"silence_heads", StageKind::proposal};
  constexpr void apply(Settings& settings) const noexcept {
    settings.silent = heads;
    settings.silent_factor = factor;
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (heads.has_layer(step.layer + 1) && acts_on(on, step.kind)) {
      decision.verdict = decision.verdict | Verdict::silence_heads;
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const silence_heads&, const silence_heads&) = default;
};

}  // namespace fathom
