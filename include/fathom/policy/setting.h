// Settings: stages that configure the step and decide nothing. Next in the flow: policy/pipeline.h.
#pragma once

#include <cstdint>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/stage.h"

namespace fathom {

/// How the KV cells of layers that a row did not run come to be; written `kv(fill)`, `kv(verify)`. Behind kv(verify)
/// the savings to its left are drafts, and the text is that of full depth, bit for bit: docs/lossless.md.
struct kv {
  KvMode mode = KvMode::fill;
  int32_t max_rows = 8;  // rows of a sequence that may owe layers; 1..64, of no account to fill

  static constexpr StageTraits traits{"kv", StageKind::setting};
  constexpr void apply(Settings& settings) const noexcept {
    settings.kv = mode;
    settings.kv_max_rows = max_rows;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const kv&, const kv&) = default;
};

/// KV cells are filled at once, read as they are, and made exact every `tokens` generated tokens: the owed layers of
/// all rows since the first that was filled run in one batch. Between two settlings it is kv(fill), so errors do not
/// outlive them. Stands in place of kv(..).
///   memory   `tokens` states of a sequence
///   cost     the layers above each row's last exact state, once; a step takes one generated row of a sequence
struct settle_every {
  int32_t tokens = 0;  // 1..64; required

  static constexpr StageTraits traits{"settle_every", StageKind::setting, {}, true};
  constexpr void apply(Settings& settings) const noexcept {
    settings.kv = KvMode::settle_later;
    settings.kv_max_rows = tokens;
    settings.settle_in_turn = true;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const settle_every&, const settle_every&) = default;
};

/// A generated row takes its guess from a shortlist of the LM head and owes the head; needs kv(verify). The list holds
/// tokens of the text and those that the whole head lately ranked high.
///   cost     hot / vocab of the head for each guess; the head once for all rows that settle
struct defer_head {
  int32_t hot = 4096;  // tokens of the shortlist, 16..1048576

  static constexpr StageTraits traits{"defer_head", StageKind::setting};
  constexpr void apply(Settings& settings) const noexcept { settings.hot_tokens = hot; }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const defer_head&, const defer_head&) = default;
};

/// The head's high bits bound every logit, and only what the bounds leave is read in full: where Session::expect() says
/// what the logits are for, every choice is that of all logits.
///   cost     4.5 of 8.5 (Q8_0) or 4.6 of 6.6 (Q6_K) bits of each weight of the head, and what the bounds leave
struct screen_head {
  static constexpr StageTraits traits{"screen_head", StageKind::setting};
  constexpr void apply(Settings& settings) const noexcept { settings.screen_head = true; }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const screen_head&, const screen_head&) = default;
};

/// Exit checks look at a shortlist of the LM head first: where the policy would let a row leave by what it says, the
/// whole head confirms, and the policy decides again by that. So no row leaves by the shortlist's word. The list is the
/// one that calibration wrote (Session::use), the first ids of the vocabulary without; it follows no text, so that what
/// a row does hangs on its own past alone.
///   cost     tokens / vocab of the head for each check, and the head once more for each that is confirmed
struct screen_checks {
  int32_t tokens = 4096;  // of the shortlist, 16..1048576

  static constexpr StageTraits traits{"screen_checks", StageKind::setting};
  constexpr void apply(Settings& settings) const noexcept { settings.check_tokens = tokens; }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const screen_checks&, const screen_checks&) = default;
};

/// A text whose words alone say its label surely enough runs no layer. Of label tasks: Classifier asks the head that
/// reads words before it gives a text to a session, so what restores depth does not stand beside it.
///   cost     about 40 ns a token, and a multiply-add for each word and label
struct word_exit {
  float agreement_at_least = 1;  // calibrated probability that the label is full depth's, 0..1; required

  static constexpr StageTraits traits{"word_exit", StageKind::setting};
  static constexpr bool never_saves = false;
  constexpr void apply(Settings& settings) const noexcept {
    settings.exits_by_words = true;
    settings.word_agreement = agreement_at_least;
  }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const word_exit&, const word_exit&) = default;
};

/// Tokens are drafted from repetitions of prompt and own output, and confirmed beside the next row; needs kv(verify).
struct draft_ngram {
  static constexpr StageTraits traits{"draft_ngram", StageKind::setting};
  constexpr void apply(Settings& settings) const noexcept { settings.draft_ngram = true; }
  FATHOM_API std::string text() const;
  FATHOM_API Result<void> check(int32_t n_layers) const;
  friend constexpr bool operator==(const draft_ngram&, const draft_ngram&) = default;
};

}  // namespace fathom
