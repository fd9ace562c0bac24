// What a stage is: any copyable type with `static constexpr StageTraits traits` and a noexcept call
// (Step, Decision) -> Decision. No base class, no registration, no state.
// Next in the flow: policy/layer_set.h, then the stages: exit.h, skip.h, silence.h, limit.h, setting.h.
#pragma once

#include <concepts>
#include <cstdint>

#include "fathom/policy/decision.h"
#include "fathom/policy/head_set.h"

namespace fathom {

enum class StageKind : uint8_t {
  proposal,  ///< may add a saving
  limit,     ///< may only restore or cap; stands to the right of proposals and has the last word
  setting,   ///< configures the step; takes no decision
};

/// What a stage is and reads. `name` is its word in the text form.
struct StageTraits {
  const char* name;
  StageKind kind;
  SignalSet reads = {};
  bool sequential = false;  // needs the rows of a sequence one after another: what it reads depends on the row before
};

/// How the KV cells of layers that a row did not run come to be. Where they are owed, the row's last exact state is
/// kept, and the layers above it are run later, for several rows at once.
enum class KvMode : uint8_t {
  fill,          ///< projected at once from the state the row left with; approximate
  settle_later,  ///< owed; the token stands, and the cells are exact before a deeper row reads them
  verify,        ///< owed; the token is a guess until the row has settled
};

/// Rows of one sequence that may owe layers, at most.
inline constexpr int32_t kMaxOwed = 64;

/// What makes one token of a text matter more than another.
enum class TokenOrder : uint8_t {
  attention,  ///< the share of attention it received in the layer just run, mean over heads and rows
  norm,       ///< the length of its state
  entropy,    ///< how sharply it attended itself: the lower the entropy of its attention, the more it matters
  recent,     ///< how late it stands
  random,     ///< nothing: a hash of its place, the control that any other order has to beat
};

/// What settings configure, one field for each kind of setting; and which heads silence_heads is about.
struct Settings {
  KvMode kv = KvMode::fill;
  int32_t kv_max_rows = 8;      // of a sequence that may owe
  bool settle_in_turn = false;  // those settle when so many owe, and not where a deeper row passes
  bool draft_ngram = false;     // tokens are drafted from repetitions of the text
  bool screen_head = false;     // bounds rule tokens out before the head is read
  int32_t hot_tokens = 0;       // of the shortlist that drafts in place of the head; 0: the head is not deferred
  HeadSet silent = {};          // heads that Verdict::silence_heads is about
  float silent_factor = 0;      // of what they add

  bool exits_by_words = false;  // texts whose words say their label run no layer
  float word_agreement = 1;     // from this probability on that it is full depth's

  TokenOrder rank_by = TokenOrder::attention;  // what token_rank ranks by
  int32_t protected_first = 0;                 // of a text's tokens, that stay whatever they are worth
  int8_t noise = -1;                           // tokens of this TokenClass are alike; none: -1

  int32_t check_tokens = 0;  // of the shortlist that exit checks look at first; 0: they read the whole head

  /// Some row's token is a guess at first.
  constexpr bool drafts() const { return draft_ngram || hot_tokens > 0; }

  friend constexpr bool operator==(const Settings&, const Settings&) = default;
};

/// Rows a depth stage acts on.
enum class On : uint8_t { generated, prompt, all };

constexpr bool acts_on(On on, RowKind kind) { return on == On::all || (on == On::prompt) == (kind == RowKind::prompt); }

/// Says what it is. Asked first: std::copyable of a type that converts from stages would ask about stages again.
template <class S>
concept HasTraits = requires {
  { S::traits } -> std::convertible_to<StageTraits>;
};

/// A stage that decides.
template <class S>
concept DecidingStage = HasTraits<S> && std::copyable<S> &&
    requires(const S& stage, const Step& step, Decision before) {
  { stage(step, before) }
  noexcept->std::same_as<Decision>;
} &&(S::traits.kind != StageKind::setting);

/// Configures the step, whatever else it does; such a stage is given once in a policy.
template <class S>
concept Configures = requires(const S& stage, Settings& settings) {
  { stage.apply(settings) }
  noexcept;
};

/// A stage that configures and decides nothing.
template <class S>
concept SettingStage = HasTraits<S> && std::copyable<S> && Configures<S> &&(S::traits.kind == StageKind::setting);

template <class S>
concept Stage = DecidingStage<S> || SettingStage<S>;

/// A stage may narrow where it reads: `SignalSet reads_at(int layer, int n_layers, RowKind) const noexcept`.
/// Without it, `traits.reads` holds at every boundary from 1 on.
template <class S>
concept NarrowStage = requires(const S& stage, RowKind kind) {
  { stage.reads_at(0, 0, kind) }
  noexcept->std::same_as<SignalSet>;
};

}  // namespace fathom
