// What a policy sees (Step) and says (Decision) about one row at one layer boundary.
// Next in the flow: policy/stage.h.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

namespace fathom {

/// What happens to a row in the next layer. Savings join: skip_attention with skip_feed_forward is skip_layer,
/// and exit contains them all; so a verdict is a set of bits, proposals add bits, limits take them away.
/// silence_heads is a smaller saving of the attention half than skip_attention, which takes its place where both are.
/// Beside its saving a token of an encoder's text may be removed: it leaves as one that exits does, and nobody attends
/// to it any more. What is merged is not lost, so merging takes the place of dropping where both are.
enum class Verdict : uint8_t {
  run = 0,
  skip_attention = 1,
  skip_feed_forward = 2,
  skip_layer = 3,
  exit = 7,
  silence_heads = 8,  ///< attention runs without the heads that Settings::silent names
  silence_heads_skip_feed_forward = 10,
  drop = 16,   ///< the token is gone: no cells, no place in what is pooled
  merge = 32,  ///< the same, but its state joins that of the token most like it, which then counts for both
};

constexpr Verdict operator|(Verdict a, Verdict b) {
  int bits = static_cast<int>(a) | static_cast<int>(b);
  if ((bits & 32) != 0) bits &= ~16;
  if ((bits & 1) != 0) bits &= ~8;
  return static_cast<Verdict>(bits);
}
/// A verdict without and with nothing but the removal of the token.
constexpr Verdict saving_of(Verdict v) { return static_cast<Verdict>(static_cast<uint8_t>(v) & 15); }
constexpr Verdict removal_of(Verdict v) { return static_cast<Verdict>(static_cast<uint8_t>(v) & 48); }
/// Whether a byte is a verdict that stages can come to.
constexpr bool is_verdict(uint8_t bits) {
  const int saving = bits & 15;
  return bits < 48 && (saving <= 3 || saving == 7 || saving == 8 || saving == 10);
}
constexpr bool drops(Verdict v) { return removal_of(v) == Verdict::drop; }
constexpr bool merges(Verdict v) { return removal_of(v) == Verdict::merge; }
constexpr bool removes(Verdict v) { return drops(v) || merges(v); }
constexpr bool exits(Verdict v) { return saving_of(v) == Verdict::exit || removes(v); }
constexpr bool skips_attention(Verdict v) { return (static_cast<uint8_t>(v) & 1) != 0 || removes(v); }
constexpr bool skips_feed_forward(Verdict v) { return (static_cast<uint8_t>(v) & 2) != 0 || removes(v); }
constexpr bool silences_heads(Verdict v) { return (static_cast<uint8_t>(v) & 8) != 0 && !removes(v); }

/// What a row is in its sequence. Depth stages act on generated rows unless they say `on = prompt | all`.
enum class RowKind : uint8_t { prompt, generated };

/// Numbers about a row that stages may ask for. A signal that was not computed reads as NaN, and no comparison
/// with NaN holds: a missing signal never saves anything.
enum class Signal : uint8_t {
  exit_confidence,          ///< largest probability of this layer's own answer (final norm + LM head), 0..1
  exit_margin,              ///< largest minus second largest probability, 0..1
  exit_entropy,             ///< of that answer, nats
  agreeing,                 ///< checks in a row, this one included, whose answer was the same token; a check
                            ///< counts where the policy reads `agreeing`, not where only other signals are read
  similarity,               ///< cosine of the row's state before and after the layer just run
  similarity_attention,     ///< the same for its attention half
  similarity_feed_forward,  ///< the same for its feed-forward half
  last_entropy,             ///< entropy of the sequence's last committed prediction, nats
  agreement,                ///< calibrated probability that this layer's own answer is full depth's, 0..1
  utility,                  ///< predicted: P(the row needs the coming layer), 0..1, from its state alone; no head
  diversity,                ///< novelty of the row's state: 1 - its largest cosine with those that the sequence's rows
                            ///< at the kRecentRows positions before had at this boundary, 0..2; missing where one of
                            ///< them is not known, or none reached it
  attention_received,       ///< share of its attention in the layer just run that the row gave to itself, mean over
                            ///< heads, 0..1
  token_class,              ///< TokenClass of the row's own token, as a number
  last_margin,              ///< largest minus second largest probability of the sequence's last prediction, 0..1
  last_margin_2,            ///< the largest of that over the last two predictions; NaN where there were fewer
  last_margin_3,            ///< over the last three
  last_margin_4,            ///< over the last four

  // Of an encoder's tokens, beside the others of their text. Missing: tokens around a text, and those protected.
  token_rank,      ///< tokens of its text that matter more, by the order that the policy names (TokenOrder)
  attention_lost,  ///< share of attention that the text would have lost without this token and all that matter less,
                   ///< what it lost before included, 0..1
  merge_rank,      ///< tokens of its text that are more like their partners than it is like its own
  likeness,        ///< cosine with its partner, the token that it would join: of keys; before layer 1, of what both are
                   ///< embedded as
  tokens_left,     ///< of its text, that still run
  tokens_read,     ///< of its text
};
inline constexpr int kSignals = 23;
inline constexpr std::string_view kSignalNames[kSignals] = {"exit_confidence",
                                                            "exit_margin",
                                                            "exit_entropy",
                                                            "agreeing",
                                                            "similarity",
                                                            "similarity_attention",
                                                            "similarity_feed_forward",
                                                            "last_entropy",
                                                            "agreement",
                                                            "utility",
                                                            "diversity",
                                                            "attention_received",
                                                            "token_class",
                                                            "last_margin",
                                                            "last_margin_2",
                                                            "last_margin_3",
                                                            "last_margin_4",
                                                            "token_rank",
                                                            "attention_lost",
                                                            "merge_rank",
                                                            "likeness",
                                                            "tokens_left",
                                                            "tokens_read"};
/// Rows of its sequence that a row's diversity looks back on.
inline constexpr int32_t kRecentRows = 8;

/// No signal: of a field that names one, where none is named.
inline constexpr Signal kNoSignal = static_cast<Signal>(kSignals);
constexpr bool is_signal(Signal s) { return static_cast<int>(s) < kSignals; }

/// A set of signals.
struct SignalSet {
  uint32_t bits = 0;

  constexpr SignalSet() = default;
  constexpr SignalSet(Signal s) : bits(1u << static_cast<int>(s)) {}
  static constexpr SignalSet all() {
    SignalSet set;
    set.bits = (1u << kSignals) - 1;
    return set;
  }
  constexpr bool has(Signal s) const { return bits >> static_cast<int>(s) & 1; }
  constexpr bool empty() const { return bits == 0; }
  constexpr bool any(SignalSet other) const { return (bits & other.bits) != 0; }
  friend constexpr SignalSet operator|(SignalSet a, SignalSet b) {
    a.bits |= b.bits;
    return a;
  }
  friend constexpr bool operator==(SignalSet, SignalSet) = default;
};

/// Signals that need this layer's answer, that is a final norm and an LM head for the row: the dear ones.
inline constexpr SignalSet kExitSignals = SignalSet(Signal::exit_confidence) | Signal::exit_margin |
                                          Signal::exit_entropy | Signal::agreeing | Signal::agreement;

/// Signals whose making is counted as work of the row.
inline constexpr SignalSet kPricedSignals = kExitSignals | Signal::utility;

/// The margin of the last prediction, or the largest of the last few.
///   n   1..kLastMargins
inline constexpr int kLastMargins = 4;
constexpr Signal last_margin_of(int n) { return static_cast<Signal>(static_cast<int>(Signal::last_margin) + n - 1); }

/// Signals of what the sequence's rows before said: a step then takes one generated row of a sequence.
inline constexpr SignalSet kLastMarginSignals =
    SignalSet(Signal::last_margin) | Signal::last_margin_2 | Signal::last_margin_3 | Signal::last_margin_4;
inline constexpr SignalSet kHistorySignals = SignalSet(Signal::last_entropy) | kLastMarginSignals;

/// Signals about the tokens of a text beside one another; those of attention are read when a layer has attended.
inline constexpr SignalSet kAttentionRankSignals = SignalSet(Signal::token_rank) | Signal::attention_lost;
inline constexpr SignalSet kMergeSignals = SignalSet(Signal::merge_rank) | Signal::likeness;
inline constexpr SignalSet kTokenSignals =
    kAttentionRankSignals | kMergeSignals | Signal::tokens_left | Signal::tokens_read;

/// One row at a boundary: `layer` layers are behind it, the decision is about layer `layer + 1`.
/// Layers count from 1, so boundary 0 lies before the first layer; there is no boundary after the last.
struct Step {
  int32_t layer = 0;  // 0 .. n_layers - 1
  int32_t n_layers = 0;
  int32_t position = 0;   // in its sequence, from 0
  int32_t generated = 0;  // generated rows of the sequence before this one; 0 on prompt rows
  RowKind kind = RowKind::generated;

  // Work, in units of this row at full depth with its head (multiply-adds), over the sequence's generated rows.
  float work_spent = 0;    // by the rows before this one
  float work_rows = 1;     // what those rows and this one would have spent at full depth
  float work_if_exit = 0;  // this row's total when it leaves here: layers run, checks, KV fill, head
  float work_if_run = 0;   // this row's total when it runs one more layer and leaves after it

  float signals[kSignals] = {};  // NaN where not computed

  constexpr Step() {
    for (float& s : signals) s = std::numeric_limits<float>::quiet_NaN();
  }
  constexpr float operator[](Signal s) const { return signals[static_cast<int>(s)]; }
  constexpr void set(Signal s, float value) { signals[static_cast<int>(s)] = value; }
};

/// A verdict and which stage (index in the policy, from 0) last changed it; -1: none, run.
struct Decision {
  Verdict verdict = Verdict::run;
  int8_t stage = -1;

  friend constexpr bool operator==(Decision, Decision) = default;
};

}  // namespace fathom
