// Decoder: who guesses what, which rows confirm it, and what is taken back. Next in the flow: generate.cc.
#include "src/engine/decoder.h"

#include <fmt/format.h>

#include <algorithm>

namespace fathom {
namespace {

// How many of the guesses came true, from the first on.
int32_t leading(std::span<const int32_t> guesses, std::span<const int32_t> truth) {
  const auto n = std::min(guesses.size(), truth.size());
  return static_cast<int32_t>(
      std::mismatch(guesses.begin(), guesses.begin() + static_cast<std::ptrdiff_t>(n), truth.begin()).first -
      guesses.begin());
}

Error damaged(const RowResult& row) {
  return {ErrorCode::format,
          fmt::format("position {}: the logits hold no number; the model file is damaged", row.position)};
}

TraceCommit commit_of(const RowResult& row, int32_t token) {
  return {row.sequence, row.position, token, row.depth, static_cast<float>(row.work()), row.head};
}

}  // namespace

Generation Lane::result() && {
  Generation out;
  std::move(writer).finish(out);
  out.prompt_tokens = static_cast<int32_t>(prompt_ledger.rows);
  out.mean_depth = ledger.rows > 0 ? static_cast<float>(ledger.depth / double(ledger.rows)) : prompt_depth;
  out.work = ledger.work();
  out.prompt_work = prompt_ledger.work();
  out.decoded = decoded;
  out.decode_steps = passes;
  out.proposed = proposed;
  out.accepted = accepted;
  return out;
}

void Lane::count_pass() {
  if (entering > 0 || fresh.empty()) return;
  ++passes;
  decoded += static_cast<int32_t>(fresh.size());
}

int32_t Lane::n_run() const {
  const auto tokens = static_cast<int32_t>(writer.n_tokens());
  return static_cast<int32_t>(prompt_ledger.rows) + (writer.ran_all() ? tokens : std::max(0, tokens - 1));
}

Drafting::Drafting(const GenerateOptions& options) {
  const Settings settings = options.policy.settings();
  if (settings.kv != KvMode::verify) return;
  if (settings.draft_ngram) own_source_ = ngram_draft();
  if (options.draft_chooser == nullptr) own_chooser_ = goodput_chooser();
  source_ = options.draft_source != nullptr ? options.draft_source : own_source_.get();
  chooser_ = options.draft_chooser != nullptr ? options.draft_chooser : own_chooser_.get();
}

Expectation::Expectation(Session& session, const Lane& lane) : session_(session), sequence_(lane.sequence) {
  session.expect(lane.sequence, &lane.options.sample, lane.options.sequence);
}
Expectation::~Expectation() { session_.expect(sequence_, nullptr); }

void Drafting::begin(Lane& lane, std::span<const int32_t> held, std::span<const int32_t> prompt) const {
  lane.source = source_;
  lane.chooser = chooser_;
  if (source_ == nullptr) return;
  std::vector<int32_t> all(held.begin(), held.end());
  all.insert(all.end(), prompt.begin(), prompt.end());
  source_->begin(all);
}

bool Lane::take(const Chosen& chosen) {
  fresh.push_back(chosen.token);
  if (source != nullptr) source->commit(chosen.token);
  return writer.take(chosen);
}

Decoder::Decoder(Session& session, const Policy& policy, Trace* trace)
    : session_(session),
      policy_(policy),
      settings_(policy.settings()),
      saves_(!policy.is_full_depth() || settings_.hot_tokens > 0),
      trace_(trace) {}

Result<void> check_rows(const Session& session, const Policy& policy, int32_t lanes) {
  const Settings settings = policy.settings();
  const SessionOptions& limits = session.options();
  const int32_t each = settings.kv == KvMode::settle_later ? settings.kv_max_rows + 1 : 1;
  if (limits.max_rows < lanes * each) {
    return Error{ErrorCode::argument,
                 fmt::format("SessionOptions::max_rows {}: {} texts under {} may take {} rows in one step: raise it",
                             limits.max_rows, lanes, policy.text(), lanes * each)};
  }
  if (limits.max_logit_rows < lanes) {
    return Error{ErrorCode::argument, fmt::format("SessionOptions::max_logit_rows {}: {} texts take one each: raise it",
                                                  limits.max_logit_rows, lanes)};
  }
  return {};
}

Result<void> Decoder::pass(std::span<Lane* const> lanes) {
  choose(lanes);
  FATHOM_TRY(draft(lanes));
  FATHOM_TRY(confirm(lanes));
  for (Lane* lane : lanes) lane->count_pass();
  return {};
}

// ---- choose --------------------------------------------------------------------------------------------------------

void Decoder::choose(std::span<Lane* const> lanes) {
  choices_.clear();
  const SessionOptions& limits = session_.options();
  const int32_t share = std::min(limits.max_logit_rows, limits.max_rows) / static_cast<int32_t>(lanes.size());
  int32_t other_rows = 0;
  for (Lane* lane : lanes) {
    lane->begin_pass();
    if (!lane->writes()) continue;
    const int32_t position = session_.length(lane->sequence), room = session_.options().max_tokens - position;
    if (room <= 0) {
      lane->writer.end(StopReason::context);
      continue;
    }
    if (verifies()) {
      if (!costs_) costs_ = session_.pass_costs(policy_);
      const auto most = std::min<int64_t>({settings_.kv_max_rows, room, lane->writer.room(), share});
      lane->offer = {.max_rows = std::max(1, static_cast<int32_t>(most)),
                     .saves = saves_,
                     .other_rows = other_rows,
                     .context = position,
                     .costs = &*costs_};
      choose(*lane);
    }
    other_rows += std::max(1, lane->choice.own + lane->choice.source);
  }
  if (trace_ != nullptr && !choices_.empty()) trace_->choice(choices_);
}

void Decoder::choose(Lane& lane) {
  DraftOffer& offer = lane.offer;
  if (lane.source != nullptr && offer.max_rows > 1) {
    lane.guesses.resize(static_cast<size_t>(offer.max_rows - 1));
    lane.guesses.resize(static_cast<size_t>(std::clamp(lane.source->propose(lane.guesses), 0, offer.max_rows - 1)));
    const auto unfit = [&](int32_t id) {
      return id < 0 || id >= session_.model().config().vocab || session_.model().tokenizer().ends_text(id);
    };
    lane.guesses.erase(std::find_if(lane.guesses.begin(), lane.guesses.end(), unfit), lane.guesses.end());
    offer.proposed = static_cast<int32_t>(lane.guesses.size());
    offer.confidence = std::clamp(lane.source->confidence(), 0, kDraftClasses - 1);
  }
  lane.choice = lane.chooser->choose(offer);
  lane.choice.own = offer.saves ? std::clamp(lane.choice.own, 0, offer.max_rows) : 0;
  lane.choice.source = lane.choice.own > 0 ? 0 : std::clamp(lane.choice.source, 0, offer.proposed);
  choices_.push_back({.sequence = lane.sequence,
                      .position = offer.context,
                      .own = lane.choice.own,
                      .source = lane.choice.source,
                      .proposed = offer.proposed,
                      .confidence = offer.confidence});
}

// ---- draft ---------------------------------------------------------------------------------------------------------

// Rows under the policy's savings, one after another, side by side over the lanes.
Result<void> Decoder::draft(std::span<Lane* const> lanes) {
  for (int32_t row = 0;; ++row) {
    drafting_.clear();
    for (Lane* lane : lanes) {
      if (lane->writes() && row < lane->choice.own && !lane->drafted_all) drafting_.push_back(lane);
    }
    if (drafting_.empty()) return {};
    const auto start = Clock::now();
    FATHOM_TRY(draft_row());
    const double each = seconds_since(start) / static_cast<double>(drafting_.size());
    for (Lane* lane : drafting_) lane->own_seconds += each;
  }
}

Result<void> Decoder::draft_row() {
  rows_.clear();
  commits_.clear();
  for (const Lane* lane : drafting_) {
    const bool guess = !lane->own.empty();
    rows_.push_back({.token = guess ? lane->own.back() : lane->token,
                     .sequence = lane->sequence,
                     .position = session_.length(lane->sequence),
                     .kind = RowKind::generated,
                     .logits = true,
                     .draft = guess});
  }
  FATHOM_TRY(const StepResult result, session_.step(rows_, policy_.ref(), trace_));
  for (size_t i = 0; i < drafting_.size(); ++i) {
    Lane& lane = *drafting_[i];
    const RowResult& row = result.rows[i];
    const int32_t token = choice_after(lane, result, row);
    commits_.push_back(commit_of(row, token));
    lane.ledger.ran(row);
    if (session_.owed(lane.sequence) > 0) {
      lane.drafted_all = token < 0 || session_.model().tokenizer().ends_text(token);
      if (token >= 0) lane.own.push_back(token);
    } else if (token < 0) {
      return damaged(row);
    } else {  // the policy saved nothing: that is full depth's token
      lane.ledger.stands(row);
      lane.token = token;
      lane.drafted_all = !lane.take({.token = token, .depth = row.depth});
      ++lane.n_certain;
    }
    lane.drafted_all |= session_.length(lane.sequence) >= session_.options().max_tokens;
  }
  if (trace_ != nullptr) trace_->commit(commits_);
  return {};
}

int32_t Decoder::choice_after(const Lane& lane, const StepResult& result, const RowResult& row) const {
  const auto history = session_.tokens(lane.sequence).first(static_cast<size_t>(row.position) + 1);
  return sample(LogitRow{result.logits[row.logits].flat(), result.tokens}, lane.options.sample, lane.options.sequence,
                row.position + 1, history);
}

// ---- confirm -------------------------------------------------------------------------------------------------------

Result<void> Decoder::confirm(std::span<Lane* const> lanes) {
  int32_t owed = 0;
  of_lanes_.clear();
  for (const Lane* lane : lanes) {
    owed += session_.owed(lane->sequence);
    of_lanes_.push_back(lane->sequence);
  }
  gather(lanes, owed);
  if (rows_.empty() && (!verifies() || owed == 0)) {  // savings were asked for, and saved nothing
    for (Lane* lane : lanes) learn(*lane, 0, 0);
    return {};
  }
  const auto start = Clock::now();
  FATHOM_TRY(const StepResult result, verifies() ? session_.settle(rows_, policy_.ref(), trace_, of_lanes_)
                                                 : session_.step(rows_, policy_.ref(), trace_));
  const double seconds = seconds_since(start);
  const auto rows = static_cast<int32_t>(result.rows.size() + result.settled.size());
  commits_.clear();
  rollbacks_.clear();
  for (Lane* lane : lanes) FATHOM_TRY(read(*lane, result));
  if (trace_ != nullptr) {
    trace_->commit(commits_);
    if (!rollbacks_.empty()) trace_->rollback(rollbacks_);
  }
  for (const TraceRollback& back : rollbacks_) FATHOM_TRY(session_.truncate(back.sequence, back.length));
  for (Lane* lane : lanes) learn(*lane, rows, seconds);
  return {};
}

// The certain row of each lane that owes nothing, its guesses behind it, and as much of the prompts as finds room.
void Decoder::gather(std::span<Lane* const> lanes, int32_t owed) {
  rows_.clear();
  const auto room = static_cast<size_t>(session_.options().max_rows - owed);
  const auto enter = [&](const Lane& lane, int32_t token, size_t i, bool logits) {
    const bool prompt = !lane.prompt.empty();
    rows_.push_back({.token = token,
                     .sequence = lane.sequence,
                     .position = session_.length(lane.sequence) + static_cast<int32_t>(i),
                     .kind = prompt ? RowKind::prompt : RowKind::generated,
                     .logits = logits,
                     .draft = !prompt && i > 0});
  };
  for (Lane* lane : lanes) {
    if (!lane->writes() || lane->choice.own > 0) continue;
    enter(*lane, lane->token, 0, true);
    for (int32_t i = 0; i < lane->choice.source; ++i) enter(*lane, lane->guesses[size_t(i)], size_t(i) + 1, true);
  }
  for (Lane* lane : lanes) {
    if (lane->writer.ended()) continue;
    lane->entering = std::min(lane->prompt.size(), room - std::min(room, rows_.size()));
    for (size_t i = 0; i < lane->entering; ++i) enter(*lane, lane->prompt[i], i, i + 1 == lane->prompt.size());
  }
}

// What the pass says of one lane: tokens up to the first guess that is wrong, and what is taken back.
Result<void> Decoder::read(Lane& lane, const StepResult& result) {
  of_lane_.clear();
  for (const auto part : {result.settled, result.rows}) {
    for (const RowResult& row : part) {
      if (row.sequence == lane.sequence) of_lane_.push_back(&row);
    }
  }
  if (of_lane_.empty()) return {};
  const auto held = session_.tokens(lane.sequence);
  Ledger& ledger = lane.entering > 0 ? lane.prompt_ledger : lane.ledger;
  bool goes_on = true;
  auto keep = static_cast<int32_t>(held.size());
  for (const RowResult* row : of_lane_) {
    commits_.push_back(commit_of(*row, -1));
    ledger.ran(*row);
    const bool stood = !verifies() && row->settled;  // its token was committed when it left
    if (goes_on && !stood) ledger.stands(*row);
    if (!goes_on || row->logits < 0) continue;
    const int32_t token = choice_after(lane, result, *row);
    if (token < 0) return damaged(*row);
    const auto next = static_cast<size_t>(row->position) + 1;
    const bool guessed = next < held.size() && held[next] == token;
    commits_.back().token = token;
    keep = row->position + 1;
    lane.token = token;
    goes_on = lane.take({.token = token, .depth = row->depth, .drafted = guessed}) && guessed;
  }
  if (keep < std::ssize(held)) rollbacks_.push_back({lane.sequence, keep});
  lane.prompt = lane.prompt.subspan(lane.entering);
  if (lane.entering > 0) lane.prompt_depth = of_lane_.back()->depth;
  return {};
}

void Decoder::learn(Lane& lane, int32_t rows, double seconds) {
  if (!verifies() || lane.entering > 0 || lane.fresh.empty()) return;
  const std::span<const int32_t> fresh = lane.fresh;
  const bool own = lane.choice.own > 0;
  const auto drafted = own ? std::span<const int32_t>(lane.own)
                           : std::span<const int32_t>(lane.guesses).first(static_cast<size_t>(lane.choice.source));
  const bool tells = !own && settings_.hot_tokens > 0 && policy_.is_full_depth();  // a shortlist alone can be asked
  const int32_t accepted = leading(drafted, fresh.subspan(std::min(fresh.size(), lane.n_certain)));
  lane.proposed += std::ssize(drafted);
  lane.accepted += accepted;
  lane.chooser->learn({.offer = lane.offer,
                       .choice = lane.choice,
                       .drafted = static_cast<int32_t>(drafted.size()),
                       .accepted = accepted,
                       .would_match = lane.guesses.empty() ? -1 : lane.guesses.front() == fresh.front(),
                       .own_would_match = tells ? session_.was_listed(fresh.front()) : -1,
                       .rows = rows,
                       .own_seconds = lane.own_seconds,
                       .seconds = seconds});
}

}  // namespace fathom
