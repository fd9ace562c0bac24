// What may enter a step: rows, their order, and the rows of earlier steps that owe layers. Nothing is changed that a
// refused step would leave behind. Next in the flow: session.cc.
#include <fmt/format.h>

#include <algorithm>

#include "src/engine/session_impl.h"

namespace fathom {

Result<void> Session::Impl::check(std::span<const Row> step) const {
  if (std::ssize(step) > options.max_rows) {
    return Error{ErrorCode::capacity, fmt::format("a step of {} rows: give 1..{} (SessionOptions::max_rows)",
                                                  step.size(), options.max_rows)};
  }
  for (const Row& row : step) {
    if (row.logits && model.config().encodes()) {
      return Error{ErrorCode::argument, fmt::format("sequence {}: logits of position {}, but the model is an encoder, "
                                                    "which predicts no token: ask for none",
                                                    row.sequence, row.position)};
    }
    if (row.sequence < 0 || row.sequence >= options.max_sequences) {
      return Error{ErrorCode::argument, fmt::format("sequence {} is outside 0..{}: raise SessionOptions::max_sequences",
                                                    row.sequence, options.max_sequences - 1)};
    }
    if (row.token < 0 || row.token >= model.config().vocab) {
      return Error{ErrorCode::argument, fmt::format("token {} is outside the vocabulary 0..{}: use ids of this model's "
                                                    "tokenizer",
                                                    row.token, model.config().vocab - 1)};
    }
  }
  return {};
}

Session::Impl::Plan Session::Impl::plan(PolicyRef policy) const {
  Plan plan{.policy = policy};
  if (policy.table == nullptr) return plan;
  const Settings settings = policy.table->settings(policy.self);
  plan.kv = settings.kv;
  plan.in_turn = settings.settle_in_turn;
  plan.screens = settings.screen_head;
  plan.by_words = settings.exits_by_words;
  plan.noise = settings.noise >= 0;
  plan.hot_tokens = settings.kv == KvMode::verify ? settings.hot_tokens : 0;
  if (plan.hot_tokens == 0) plan.check_tokens = settings.check_tokens;  // a shortlist that drafts answers checks too
  plan.silent = settings.silent;
  plan.silent_factor = settings.silent_factor;
  if (plan.kv != KvMode::fill) plan.max_owing = std::clamp(settings.kv_max_rows, 1, kMaxOwed);
  return plan;
}

Result<void> Session::Impl::prepare_silent(const Plan& plan) {
  if (plan.silent.empty() || (silenced && silenced->is_of(plan.silent, plan.silent_factor))) return {};
  FATHOM_TRY(SilencedHeads made, SilencedHeads::make(model, plan.silent, plan.silent_factor));
  silenced.emplace(std::move(made));
  return {};
}

// Turns the caller's rows into running ones, behind those that owe layers and join; positions must continue their
// sequences.
Result<void> Session::Impl::admit(std::span<const Row> step, const Plan& plan) {
  for (Sequence& s : sequences) s.pending = s.pending_generated = 0;
  FATHOM_TRY(check_order(step, plan));
  FATHOM_TRY(check_room(step, plan));
  FATHOM_TRY(prepare_hot(step, plan));
  FATHOM_TRY(prepare_screen(plan));
  FATHOM_TRY(prepare_checks(plan));
  FATHOM_TRY(prepare_silent(plan));
  FATHOM_TRY(prepare_states(step, plan));
  if (plan.kv != KvMode::fill) FATHOM_TRY(buffers.make_kept(model.config(), options.max_sequences * kMaxOwed));
  for (const Row& row : step) FATHOM_TRY(cache.reserve(row.sequence, row.position + 1));

  rows.clear();
  int32_t slots = 0;
  for (const Sequence& s : sequences) {
    if (s.settles == Settles::nothing) continue;
    for (RowState row : s.owing) {
      row.settles = s.settles;
      row.predicts = plan.settles_all;
      row.slot = row.predicts ? slots++ : -1;
      row.half_layers = 2 * static_cast<float>(row.from);
      rows.push_back(row);
    }
  }
  n_settling = rows.size();
  for (const Row& row : step) {
    const bool owes = plan.kv != KvMode::fill && row.kind == RowKind::generated;
    const int64_t place = int64_t{row.sequence} * kMaxOwed + row.position % kMaxOwed;
    Sequence& s = sequence(row.sequence);
    rows.push_back({.token = row.token,
                    .sequence = row.sequence,
                    .position = row.position,
                    .cell = row.position,
                    .last_cell = model.config().encodes() ? s.pending - 1 : row.position,
                    .generated = row.kind == RowKind::generated ? s.generated() + s.entered++ : 0,
                    .kind = row.kind,
                    .predicts = row.logits,
                    .draft = row.draft,
                    .slot = row.logits ? slots++ : -1,
                    .full_macs = work.full(model.config().encodes() ? s.pending - 1 : row.position, row.logits),
                    .asks = plan.kv == KvMode::fill || row.kind == RowKind::generated,
                    .kept = owes ? buffers.kept + place * model.config().d_model : nullptr});
  }
  for (const Row& row : step) sequence(row.sequence).tokens.push_back(row.token);
  say_uses(plan);
  return {};
}

// Where the policy looks back on the states of earlier rows, they are kept.
Result<void> Session::Impl::prepare_states(std::span<const Row> step, const Plan& plan) {
  states.begin(plan.policy);
  for (const Row& row : step) FATHOM_TRY(states.reserve(row.sequence));
  return {};
}

// Positions continue their sequences; rows that the policy wants one by one come so.
Result<void> Session::Impl::check_order(std::span<const Row> step, const Plan& plan) {
  for (const Row& row : step) {
    Sequence& s = sequence(row.sequence);
    if (model.config().encodes() && s.length() > 0) {
      return Error{
          ErrorCode::argument,
          fmt::format("sequence {}: holds {} positions, and an encoder reads a text in one step: truncate() it "
                      "to 0 first",
                      row.sequence, s.length())};
    }
    const int32_t next = s.length() + s.pending;
    if (row.position != next) {
      return Error{ErrorCode::argument, fmt::format("sequence {}: position {} does not continue it; the next is {}",
                                                    row.sequence, row.position, next)};
    }
    ++s.pending;
    s.pending_generated += row.kind == RowKind::generated;
  }
  const bool one_by_one =
      !plan.settles_all && plan.policy.table != nullptr && plan.policy.table->sequential(plan.policy.self);
  for (const Row& row : step) {
    if (!one_by_one || row.kind == RowKind::prompt || sequence(row.sequence).pending == 1) continue;
    return Error{
        ErrorCode::argument,
        fmt::format("sequence {}: a generated row beside others in one step, but the policy reads what the row "
                    "before did: give it one row a step",
                    row.sequence)};
  }
  return {};
}

// What the owing rows of a sequence do in the step.
Settles Session::Impl::joining(int32_t i, const Plan& plan) const {
  const Sequence& s = sequences[static_cast<size_t>(i)];
  if (plan.settles_all) {
    const bool asked = plan.only.empty() || std::find(plan.only.begin(), plan.only.end(), i) != plan.only.end();
    return asked || s.pending > 0 ? Settles::all : Settles::nothing;
  }
  if (s.pending == 0 || plan.kv == KvMode::verify) return Settles::nothing;
  const auto owing = static_cast<int32_t>(s.owing.size());
  const bool full = plan.kv != KvMode::fill && owing + s.pending_generated > plan.max_owing;
  if (!plan.in_turn) return full ? Settles::all : Settles::with_others;
  const bool prompt_follows = s.pending > s.pending_generated;  // its rows can owe nothing, and read what is exact
  return full || prompt_follows ? Settles::all : Settles::nothing;
}

// Whose owing rows join, and whether all rows and their logits find room.
Result<void> Session::Impl::check_room(std::span<const Row> step, const Plan& plan) {
  size_t n = step.size(), predicting = 0;
  for (const Row& row : step) predicting += row.logits;
  for (size_t i = 0; i < sequences.size(); ++i) {
    Sequence& s = sequences[i];
    const auto owing = static_cast<int32_t>(s.owing.size());
    s.entered = 0;
    s.settles = joining(static_cast<int32_t>(i), plan);
    if (s.pending == 0 && s.settles == Settles::nothing) continue;
    if (plan.kv == KvMode::verify && owing > 0 && s.pending > s.pending_generated) {
      return Error{ErrorCode::argument,
                   fmt::format("sequence {}: prompt rows behind {} rows that are not verified: call "
                               "settle() or truncate() first",
                               i, owing)};
    }
    if (plan.kv != KvMode::fill && (s.settles == Settles::all ? 0 : owing) + s.pending_generated > plan.max_owing) {
      return Error{ErrorCode::capacity,
                   fmt::format("sequence {}: {} rows that may owe layers beside {} that do: at most "
                               "{}, settle() or raise kv(..., max_rows) first",
                               i, s.pending_generated, owing, plan.max_owing)};
    }
    if (s.settles == Settles::nothing) continue;
    n += s.owing.size();
    predicting += plan.settles_all ? s.owing.size() : 0;
  }
  if (n == 0 || n > static_cast<size_t>(options.max_rows)) {
    return Error{ErrorCode::capacity, fmt::format("a step of {} rows, {} of which owe layers: give 1..{} "
                                                  "(SessionOptions::max_rows)",
                                                  n, n - step.size(), options.max_rows)};
  }
  if (predicting > static_cast<size_t>(options.max_logit_rows)) {
    return Error{ErrorCode::capacity, fmt::format("a step with logits for {} rows of {}: raise "
                                                  "SessionOptions::max_logit_rows",
                                                  predicting, options.max_logit_rows)};
  }
  return {};
}

}  // namespace fathom
