// Boundary: signals in, decisions out.
#include "fathom/engine/boundary.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "fathom/engine/layer_loop.h"

namespace fathom {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

}  // namespace

void Boundary::begin(PolicyRef policy, Trace* trace, int32_t n_layers, std::span<const RowState> rows,
                     std::span<const SequenceHistory> history) {
  policy_ = policy;
  if (policy_.table != nullptr && policy_.table->full_depth(policy_.self)) policy_ = {};
  trace_ = trace;
  n_layers_ = n_layers;
  history_ = history;
  next_ = {};
  tokens_.begin(policy_.table != nullptr ? policy_.table->settings(policy_.self) : Settings{});
  steps_.assign(rows.size(), Step{});
  ran_.assign(rows.size(), false);
  has_kind_[0] = has_kind_[1] = false;
  for (const RowState& row : rows) has_kind_[static_cast<int>(row.kind)] |= row.asks;
}

SignalSet Boundary::read(int32_t layer, RowKind kind) const {
  if (layer >= n_layers_ || !has_kind_[static_cast<int>(kind)]) return {};
  return policy_.table->reads(policy_.self, layer, n_layers_, kind);
}

// What is read and can be had: where nothing was fitted, nobody can say how likely an answer is full depth's or how
// needed a layer, and nothing is computed for that.
SignalSet Boundary::wanted(const LayerLoop& loop, int32_t layer, RowKind kind) const {
  SignalSet signals = read(layer, kind);
  const bool knows = (loop.fitted != nullptr && loop.fitted->at(layer) != nullptr) || loop.labels != nullptr;
  if (!knows) signals.bits &= ~SignalSet(Signal::agreement).bits;
  if (loop.routers == nullptr || loop.routers->at(layer) == nullptr) signals.bits &= ~SignalSet(Signal::utility).bits;
  return signals;
}

void Boundary::before_half(LayerLoop& loop, Half half) {
  const size_t bytes = loop.rows.size() * static_cast<size_t>(loop.config.d_model) * sizeof(float);
  if (half == Half::attention) {
    std::fill(ran_.begin(), ran_.end(), false);
    if (next_.any(Signal::similarity)) std::memcpy(loop.buffers.before, loop.buffers.x, bytes);
  }
  const Signal signal = half == Half::attention ? Signal::similarity_attention : Signal::similarity_feed_forward;
  if (next_.has(signal)) std::memcpy(loop.buffers.before_half, loop.buffers.x, bytes);
}

void Boundary::after_half(LayerLoop& loop, Half half, std::span<const int32_t> ran) {
  for (int32_t row : ran) ran_[static_cast<size_t>(row)] = true;
  if (half == Half::attention && next_.has(Signal::attention_received)) look_inside(loop);
  if (half == Half::attention) tokens_.look(loop, layer_ + 1, next_);
  const Signal signal = half == Half::attention ? Signal::similarity_attention : Signal::similarity_feed_forward;
  if (!next_.has(signal)) return;
  compare(loop, loop.buffers.before_half);
  for (int32_t row : ran) steps_[static_cast<size_t>(row)].set(signal, loop.buffers.compared[row]);
}

void Boundary::compare(LayerLoop& loop, const float* before) {
  run_rows(loop.pool, loop.kernels.similarity, std::ssize(loop.rows), loop.config.d_model,
           SimilarityArgs{.a = loop.buffers.x,
                          .index = nullptr,
                          .b = before,
                          .cols = loop.config.d_model,
                          .dst = loop.buffers.compared});
}

void Boundary::look_inside(LayerLoop& loop) {
  const auto ran = loop.whole(layer_ + 1);
  places_.clear();
  cells_.clear();
  for (size_t i = 0; i < ran.size(); ++i) {
    const RowState& row = loop.row(ran[i]);
    if (!row.asks || !wanted(loop, layer_ + 1, row.kind).has(Signal::attention_received)) continue;
    places_.push_back(static_cast<int32_t>(i));
    cells_.push_back(row.cell);
  }
  loop.attention_share(layer_ + 1, places_, cells_.data(), loop.buffers.compared, 1);
  for (size_t i = 0; i < places_.size(); ++i) {
    const auto row = static_cast<size_t>(ran[static_cast<size_t>(places_[i])]);
    steps_[row].set(Signal::attention_received, loop.buffers.compared[i]);
  }
}

// Rows of a sequence stand in the order of their positions, so that each finds those before it and none behind it.
void Boundary::look_back(LayerLoop& loop, int32_t layer) {
  const auto running = loop.active.running();
  for (size_t i = 0, next = 0; i < loop.rows.size(); ++i) {
    const auto r = static_cast<int32_t>(i);
    const bool runs = next < running.size() && running[next] == r;
    next += runs;
    const RowState& row = loop.row(r);
    if (row.settles != Settles::nothing) continue;  // its states were those of its first step
    const StateHistory::Place at{row.sequence, layer, row.position};
    if (runs && row.asks && policy_.table != nullptr && wanted(loop, layer, row.kind).has(Signal::diversity)) {
      steps_[i].set(Signal::diversity, loop.states->diversity(loop.kernels, at, loop.buffers.x, r));
    }
    loop.states->put(at, runs ? loop.buffers.state(r).data() : nullptr);
  }
}

// What signals cost beside checks, which the loop counts itself.
void Boundary::price(const LayerLoop& loop, SignalSet read, const Step& step, RowState& row) const {
  const auto has = [&](Signal s) { return read.has(s) && !std::isnan(step[s]); };
  for (const Signal s : {Signal::similarity, Signal::similarity_attention, Signal::similarity_feed_forward}) {
    if (has(s)) row.macs += loop.work.cosine();
  }
  if (has(Signal::diversity)) row.macs += loop.work.cosine() * std::min(row.position, kRecentRows);
  if (has(Signal::attention_received)) row.macs += loop.work.attention_share(layer_);
}

void Boundary::check_answers(LayerLoop& loop, int32_t layer) {
  checked_.clear();
  for (int32_t r : asking_) {
    if (wanted(loop, layer, loop.row(r).kind).any(kExitSignals)) checked_.push_back(r);
  }
  const LogitStats* stats = loop.buffers.stats;
  loop.answer(checked_, layer, loop.buffers.stats, loop.checks);
  for (int32_t r : checked_) {
    RowState& row = loop.row(r);
    if (loop.checks == nullptr) row.checked_at = layer;
    if (wanted(loop, layer, row.kind).has(Signal::agreeing)) {
      row.agreeing = stats->argmax == row.last_answer ? row.agreeing + 1 : 1;
      row.last_answer = stats->argmax;
    }
    tell_answer(loop, layer, r, *stats++, steps_[static_cast<size_t>(r)]);
  }
}

void Boundary::tell_answer(const LayerLoop& loop, int32_t layer, int32_t r, const LogitStats& stats, Step& step) const {
  const float first = std::exp(stats.max - stats.log_sum);
  step.set(Signal::exit_confidence, first);
  step.set(Signal::exit_margin, first - std::exp(stats.second - stats.log_sum));
  step.set(Signal::exit_entropy, stats.entropy);
  step.set(Signal::agreeing, static_cast<float>(loop.row(r).agreeing));
  const ExitHeads::Exit* const exit = loop.fitted != nullptr ? loop.fitted->at(layer) : nullptr;
  if (exit != nullptr) step.set(Signal::agreement, exit->agreement_of(stats, loop.buffers.state(r), loop.group));
}

// Rows that would leave by what a shortlist says are asked again by the whole head, and decided again by that.
void Boundary::confirm(LayerLoop& loop, int32_t layer, const SignalSet (&reads)[2]) {
  confirmed_.clear();
  checked_.clear();
  for (size_t i = 0; i < asking_.size(); ++i) {
    if (!exits(said_[i].verdict) || !wanted(loop, layer, asked_[i].kind).any(kExitSignals)) continue;
    confirmed_.push_back(static_cast<int32_t>(i));
    checked_.push_back(asking_[i]);
  }
  if (confirmed_.empty()) return;
  const LogitStats* stats = loop.buffers.stats;
  loop.answer(checked_, layer, loop.buffers.stats);
  again_.clear();
  for (const int32_t i : confirmed_) {
    const int32_t r = asking_[static_cast<size_t>(i)];
    RowState& row = loop.row(r);
    row.checked_at = layer;
    if (wanted(loop, layer, row.kind).has(Signal::agreeing) && stats->argmax != row.last_answer) {
      row.agreeing = 1;
      row.last_answer = stats->argmax;
    }
    Step& step = asked_[static_cast<size_t>(i)];
    tell_answer(loop, layer, r, *stats++, step);
    finish(loop, layer, row, reads[static_cast<int>(row.kind)], step);
    again_.push_back(step);
  }
  finally_.assign(again_.size(), Decision{});
  policy_.table->decide(policy_.self, again_.data(), finally_.data(), static_cast<int32_t>(finally_.size()));
  for (size_t i = 0; i < confirmed_.size(); ++i) said_[static_cast<size_t>(confirmed_[i])] = finally_[i];
}

// What the row is and has spent; signals that the policy does not read are not shown.
void Boundary::finish(const LayerLoop& loop, int32_t layer, const RowState& row, SignalSet mine, Step& step) const {
  describe(loop, layer, row, step);
  for (int s = 0; s < kSignals; ++s) {
    if (!mine.has(static_cast<Signal>(s))) step.signals[s] = kNaN;
  }
}

void Boundary::ask_router(LayerLoop& loop, int32_t layer) {
  const FittedRouter& router = *loop.routers->at(layer);
  for (int32_t r : asking_) {
    RowState& row = loop.row(r);
    if (!wanted(loop, layer, row.kind).has(Signal::utility)) continue;
    steps_[static_cast<size_t>(r)].set(Signal::utility, router.utility(loop.buffers.state(r)));
    row.macs += 2.0 * loop.config.d_model;
  }
}

// What is known of a row before it runs: its token, and what its sequence said.
void Boundary::recall(const LayerLoop& loop, const RowState& row, SignalSet reads, Step& step) const {
  const SequenceHistory& history = history_[static_cast<size_t>(row.sequence)];
  if (reads.has(Signal::last_entropy)) step.set(Signal::last_entropy, history.last_entropy);
  if (reads.any(kLastMarginSignals)) {
    for (int n = 1; n <= kLastMargins; ++n) step.set(last_margin_of(n), history.last_margin(n));
  }
  if (reads.has(Signal::token_class) && loop.classes != nullptr) {
    step.set(Signal::token_class, static_cast<float>(loop.classes[row.token]));
  }
}

void Boundary::describe(const LayerLoop& loop, int32_t layer, const RowState& row, Step& step) const {
  const SequenceHistory& history = history_[static_cast<size_t>(row.sequence)];
  const double head = row.predicts ? loop.work.head() : 0;
  const double if_exit = row.macs + loop.fills_above(layer) + (row.checked_at == layer && layer > 0 ? 0 : head);
  const double if_run = row.macs + loop.work.layer(layer + 1, row.last_cell) + loop.fills_above(layer + 1) + head;
  step.layer = layer;
  step.n_layers = n_layers_;
  step.position = row.position;
  step.generated = row.generated;
  step.kind = row.kind;
  step.work_spent = static_cast<float>(history.macs / row.full_macs);
  step.work_rows = static_cast<float>(history.full_macs / row.full_macs) + 1;
  step.work_if_exit = static_cast<float>(if_exit / row.full_macs);
  step.work_if_run = static_cast<float>(if_run / row.full_macs);
}

void Boundary::decide(LayerLoop& loop, int32_t layer) {
  layer_ = layer;
  if (loop.states != nullptr && loop.states->keeps(layer)) look_back(loop, layer);
  if (policy_.table == nullptr) return;
  asking_.clear();
  for (int32_t r : loop.active.running()) {
    if (loop.row(r).asks) asking_.push_back(r);
  }
  const SignalSet reads[2] = {read(layer, RowKind::prompt), read(layer, RowKind::generated)};
  const SignalSet computed = wanted(loop, layer, RowKind::prompt) | wanted(loop, layer, RowKind::generated);
  next_ = wanted(loop, layer + 1, RowKind::prompt) | wanted(loop, layer + 1, RowKind::generated);
  if (asking_.empty()) return;

  if (layer > 0 && computed.any(kExitSignals)) {
    loop.labels != nullptr ? check_labels(loop, layer) : check_answers(loop, layer);
  }
  if (computed.has(Signal::utility)) ask_router(loop, layer);
  if (layer > 0 && computed.has(Signal::similarity)) {
    compare(loop, loop.buffers.before);
    for (int32_t r : asking_) {
      if (ran_[static_cast<size_t>(r)])
        steps_[static_cast<size_t>(r)].set(Signal::similarity, loop.buffers.compared[r]);
    }
  }
  if (computed.any(kTokenSignals)) tokens_.tell(loop, layer, computed, steps_);
  asked_.clear();
  sequences_.clear();
  for (int32_t r : asking_) {
    RowState& row = loop.row(r);
    Step& step = steps_[static_cast<size_t>(r)];
    const SignalSet mine = reads[static_cast<int>(row.kind)];
    recall(loop, row, mine, step);
    price(loop, mine, step, row);
    finish(loop, layer, row, mine, step);
    asked_.push_back(step);
    sequences_.push_back(row.sequence);
    step = Step{};
  }
  said_.assign(asking_.size(), Decision{});
  policy_.table->decide(policy_.self, asked_.data(), said_.data(), static_cast<int32_t>(said_.size()));
  if (loop.checks != nullptr && layer > 0 && computed.any(kExitSignals)) confirm(loop, layer, reads);
  if (loop.labels != nullptr) leave_together(loop);
  tokens_.act(loop, asking_, said_);

  bool any_saving = false;
  for (size_t i = 0; i < asking_.size(); ++i) {
    any_saving |= said_[i].verdict != Verdict::run;
    RowState& row = loop.row(asking_[i]);
    loop.active.set(asking_[i], said_[i].verdict);
    row.answered = exits(said_[i].verdict) && row.checked_at == layer && layer > 0;
    if (exits(said_[i].verdict)) row.left_at = layer;
  }
  const bool telling = any_saving || !(reads[0] | reads[1]).empty() || policy_.table->sequential(policy_.self);
  if (trace_ != nullptr && telling) trace_->boundary(reads, sequences_, asked_, said_);
}

}  // namespace fathom
