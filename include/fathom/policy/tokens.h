// Proposals that make a text shorter on its way through an encoder: prune_tokens, merge_tokens, fuse_tokens; and the
// limit max_loss. Text, ranges and costs: docs/policies.md. Next in the flow: policy/limit.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/share_list.h"
#include "fathom/policy/stage.h"
#include "fathom/text/token_class.h"

namespace fathom {

/// Tokens that say little, whatever stands beside them: none, or those of one TokenClass.
enum class Noise : uint8_t { none, digits, delimiters, punctuation, word_begins, word_parts, spaces, other };
static_assert(static_cast<int>(Noise::other) == static_cast<int>(TokenClass::other) + 1);

/// How a text comes down to the share of its tokens that stays.
enum class Schedule : uint8_t {
  once,    ///< at the first boundary
  linear,  ///< the same share less at each boundary, down to `keep`, which is then one share, at the last
  cosine,  ///< the same, slowly at first and at last
};

/// The share of a text's tokens that is there behind a boundary.
inline float share_at(int32_t layer, int32_t n_layers, int32_t from_layer, Schedule schedule,
                      const ShareList& list) noexcept {
  if (layer < from_layer) return 1;
  const float keep = list.at(layer - from_layer);
  if (schedule == Schedule::once) return keep;
  const int32_t steps = std::max(n_layers - from_layer, 1);
  const float way = static_cast<float>(std::min(layer - from_layer + 1, steps)) / static_cast<float>(steps);
  const float gone = schedule == Schedule::linear ? way : (1 - std::cos(way * 3.14159265f)) / 2;
  return 1 - (1 - keep) * gone;
}

/// Tokens that such a share is, rounded up, and up again to whole blocks.
inline float kept_tokens(float share, float tokens, int32_t blocks) noexcept {
  constexpr float kRounding = 1e-4f;  // of share * tokens, which is not to make one more of it
  const auto block = static_cast<float>(std::max(blocks, 1));
  const float kept = std::ceil((share * tokens - kRounding) / block) * block;
  return kept < 1 ? 1 : kept;  // a NaN stays one: nothing goes
}

/// Drops the tokens of a text that matter least.
///   cost     by attention: the scores of a layer once more, for at most 256 rows of a text; by entropy: for all of
///   them;
///            by norm: d multiply-adds a token
///   source   Goyal 2020 (attention received), Kim 2022; controls: recent, random
struct prune_tokens {
  ShareList keep = {};     // share of the text's tokens, above 0, at most 1, or one for each boundary in turn; required
  int32_t from_layer = 1;  // first boundary it acts at: this many layers are behind the text
  TokenOrder by = TokenOrder::attention;
  Schedule schedule = Schedule::once;
  int32_t blocks = 1;         // what stays is a multiple of it
  int32_t protect_first = 0;  // of the text's tokens, that always stay: a query in front of a passage
  On on = On::generated;

  static constexpr StageTraits traits{"prune_tokens", StageKind::proposal,
                                      SignalSet(Signal::token_rank) | Signal::tokens_read};
  constexpr SignalSet reads_at(int layer, int, RowKind kind) const noexcept {
    return layer >= from_layer && acts_on(on, kind) ? traits.reads : SignalSet();
  }
  constexpr void apply(Settings& settings) const noexcept {
    settings.rank_by = by;
    settings.protected_first = std::max(settings.protected_first, protect_first);
  }
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer < from_layer || !acts_on(on, step.kind)) return decision;
    const float share = share_at(step.layer, step.n_layers, from_layer, schedule, keep);
    if (step[Signal::token_rank] >= kept_tokens(share, step[Signal::tokens_read], blocks)) {
      decision.verdict = decision.verdict | Verdict::drop;
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const prune_tokens&, const prune_tokens&) = default;
};

/// Joins tokens of a text with those most like them. Every other token looks for its partner among those between, by
/// the cosine of the keys of the layer just run; the likest pairs become one row each, the mean of both by what they
/// stand for, and attention counts it for as many. Half of a text at most goes at a boundary.
///   cost     tokens^2 / 4 * d multiply-adds of a text
///   source   Bolya 2023
struct merge_tokens {
  ShareList keep = {};                       // share of the text's tokens, as prune_tokens has it; required
  int32_t from_layer = 1;                    // first boundary it acts at
  std::optional<float> alike_at_least = {};  // only pairs of this cosine, -1..1
  Schedule schedule = Schedule::once;
  int32_t blocks = 1;         // what stays is a multiple of it
  int32_t protect_first = 0;  // of the text's tokens, that join no other
  On on = On::generated;

  static constexpr StageTraits traits{"merge_tokens", StageKind::proposal,
                                      kMergeSignals | Signal::tokens_left | Signal::tokens_read};
  constexpr SignalSet reads_at(int layer, int, RowKind kind) const noexcept {
    return layer >= from_layer && acts_on(on, kind) ? traits.reads : SignalSet();
  }
  constexpr void apply(Settings& settings) const noexcept {
    settings.protected_first = std::max(settings.protected_first, protect_first);
  }
  Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer < from_layer || !acts_on(on, step.kind)) return decision;
    const float share = share_at(step.layer, step.n_layers, from_layer, schedule, keep);
    const float kept = kept_tokens(share, step[Signal::tokens_read], blocks);
    const bool alike = !alike_at_least || step[Signal::likeness] >= *alike_at_least;
    if (alike && step[Signal::merge_rank] < step[Signal::tokens_left] - kept) {
      decision.verdict = decision.verdict | Verdict::merge;
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const merge_tokens&, const merge_tokens&) = default;
};

/// Makes one row of a token and the one before it before layer 1, where they are the same or nearly so, or both noise.
/// The row counts for as many as it stands for.
///   cost     d multiply-adds a token
struct fuse_tokens {
  float alike_at_least = 1;   // cosine of what the two are embedded as, without their places; 1: the same token
  Noise noise = Noise::none;  // two tokens of this class are alike as well

  static constexpr StageTraits traits{"fuse_tokens", StageKind::proposal, Signal::likeness};
  constexpr SignalSet reads_at(int layer, int, RowKind) const noexcept {
    return layer == 0 ? traits.reads : SignalSet();
  }
  constexpr void apply(Settings& settings) const noexcept {
    if (noise != Noise::none) settings.noise = static_cast<int8_t>(static_cast<int>(noise) - 1);
  }
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (step.layer == 0 && step[Signal::likeness] >= alike_at_least) {
      decision.verdict = decision.verdict | Verdict::merge;
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const fuse_tokens&, const fuse_tokens&) = default;
};

/// Keeps tokens that were to be dropped, from the one that matters most on, until the text has lost no more than this
/// share of its attention. So a text whose attention is spread keeps more of itself: the budget follows the text.
///   cost     that of prune_tokens by attention, at every boundary from 1 on
struct max_loss {
  float attention = 0;  // 0..1; required

  static constexpr StageTraits traits{"max_loss", StageKind::limit, Signal::attention_lost};
  static constexpr bool never_saves = true;
  constexpr Decision operator()(const Step& step, Decision decision) const noexcept {
    if (drops(decision.verdict) && !(step[Signal::attention_lost] <= attention)) {
      decision.verdict = saving_of(decision.verdict);
    }
    return decision;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const max_loss&, const max_loss&) = default;
};

}  // namespace fathom
