// Session: making one, running a step, and keeping what sequences bring along.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "fathom/sample/sampler.h"
#include "src/engine/session_impl.h"

namespace fathom {
namespace {

constexpr int32_t kMaxRows = 1 << 16;
constexpr int32_t kMaxSequences = 1 << 12;

Result<void> check_range(const char* option, int64_t value, int64_t low, int64_t high, const char* remedy) {
  if (low <= value && value <= high) return {};
  return Error{ErrorCode::argument,
               fmt::format("SessionOptions::{} {} is outside {}..{}: {}", option, value, low, high, remedy)};
}

Result<void> check_kernels(const KernelTable& k) {
  const std::pair<const char*, const char*> entries[] = {{"embed", k.embed.name},
                                                         {"norm", k.norm.name},
                                                         {"quantize", k.quantize.name},
                                                         {"round", k.round.name},
                                                         {"gated", k.gated.name},
                                                         {"add", k.add.name},
                                                         {"rope", k.rope.name},
                                                         {"kv_write", k.kv_write.name},
                                                         {"attention", k.attention.name},
                                                         {"attention_share", k.attention_share.name},
                                                         {"similarity", k.similarity.name},
                                                         {"logit_stats", k.logit_stats.name}};
  for (const auto& [operation, name] : entries) {
    if (name == nullptr) {
      return Error{ErrorCode::unsupported, fmt::format("operation {}: no table of this model serves it; open the model "
                                                       "with OpenOptions::target unset",
                                                       operation)};
    }
  }
  return {};
}

AttentionPlan::Limits attention_limits(const ModelConfig& config, const SessionOptions& options) {
  AttentionPlan::Limits limits{.threads = options.threads, .max_tokens = options.max_tokens};
  for (const LayerSpec& spec : config.layers) {
    limits.heads = std::max(limits.heads, int64_t{spec.heads});
    limits.kv_heads = std::max(limits.kv_heads, int64_t{spec.kv_heads});
    limits.head_dim = std::max(limits.head_dim, int64_t{spec.head_dim});
  }
  return limits;
}

}  // namespace

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<Session> Session::make(const Model& model, const SessionOptions& options) {
  const ModelConfig& config = model.config();
  FATHOM_TRY(check_range("max_tokens", options.max_tokens, 1, config.context, "the model was made for that many"));
  FATHOM_TRY(check_range("max_sequences", options.max_sequences, 1, kMaxSequences, "use fewer sequences"));
  FATHOM_TRY(check_range("max_rows", options.max_rows, 1, kMaxRows, "prompts are cut into steps of this many rows"));
  FATHOM_TRY(check_range("max_logit_rows", options.max_logit_rows, 1, kMaxRows, "rows that predict in one step"));
  FATHOM_TRY(ThreadPool pool, ThreadPool::make(options.threads));
  FATHOM_TRY(KvCache cache, KvCache::make(config, options.kv, options.max_tokens, options.max_sequences));
  FATHOM_TRY(StepBuffers buffers,
             StepBuffers::make(config, options.max_rows, config.encodes() ? 0 : options.max_logit_rows));
  FATHOM_TRY(buffers.attention, AttentionPlan::make(attention_limits(config, options)));
  const KernelTable kernels = merge(model.tables());
  FATHOM_TRY(check_kernels(kernels));
  const auto n = static_cast<size_t>(options.max_sequences);
  return Session(
      std::unique_ptr<Impl>(new Impl{.model = model,
                                     .options = options,
                                     .kernels = kernels,
                                     .work = WorkModel(config),
                                     .pool = std::move(pool),
                                     .cache = std::move(cache),
                                     .buffers = std::move(buffers),
                                     .active = {},
                                     .boundary = {},
                                     .hot = {},
                                     .checks = {},
                                     .screen = {},
                                     .silenced = {},
                                     .states = StateHistory(config.n_layers, options.max_sequences, config.d_model),
                                     .uses = {},
                                     .reports = {},
                                     .sequences = std::vector<Impl::Sequence>(n),
                                     .history = std::vector<SequenceHistory>(n),
                                     .inexact_from = std::vector<int32_t>(n * config.layers.size(), kNever),
                                     .rows = {},
                                     .n_settling = 0,
                                     .results = {},
                                     .traced = {},
                                     .watched = {}}));
}

bool Session::Impl::reads(PolicyRef policy, SignalSet signals) const {
  if (policy.table == nullptr) return false;
  for (int32_t layer = 0; layer < model.config().n_layers; ++layer) {
    for (RowKind kind : {RowKind::prompt, RowKind::generated}) {
      if (policy.table->reads(policy.self, layer, model.config().n_layers, kind).any(signals)) return true;
    }
  }
  return false;
}

// Books what the rows did: results for the caller, debts, and history for the rows to come.
void Session::Impl::conclude(const Plan& plan) {
  const bool remembered = reads(plan.policy, kHistorySignals);
  for (Sequence& s : sequences) {
    if (s.settles != Settles::nothing) s.owing.clear();
  }
  results.clear();
  for (size_t i = 0; i < rows.size(); ++i) {
    RowState& row = rows[i];
    FATHOM_ASSERT(model.config().encodes() || !cache.has_hole(row.sequence, row.position));
    Sequence& s = sequence(row.sequence);
    const bool head_alone =
        row.settles != Settles::nothing && row.from == model.config().n_layers;  // its cells are exact
    if (row.settles == Settles::all || head_alone) row.owes_from = -1;
    if (row.owes_from < 0 && row.kept != nullptr && row.settles == Settles::nothing &&
        (plan.hot_tokens > 0 || !s.owing.empty())) {
      // The head is the last layer. Rows that owe are a sequence's last ones, so that all of them settle in one order.
      row.owe(model.config().n_layers, buffers.state(static_cast<int64_t>(i)));
    }
    const bool owes = row.owes_from >= 0;
    results.push_back({.sequence = row.sequence,
                       .position = row.position,
                       .depth = row.half_layers / 2,
                       .macs = row.macs,
                       .step_macs = row.macs - row.macs_before,
                       .full_macs = row.full_macs,
                       .logits = row.slot,
                       .head = way_of(row, plan),
                       .removed = row.removed,
                       .owes = owes,
                       .settled = i < n_settling});
    if (i >= n_settling) s.past.push_back({.kind = row.kind});
    Past& past = s.past[static_cast<size_t>(row.position)];
    past.macs = row.macs;
    past.full_macs = row.full_macs;
    if (row.slot >= 0) look_at(row.slot, remembered, past);
    if (owes) s.owing.push_back(owing(row));
  }
  for (const RowState& row : rows) book(row.sequence, row.position);
}

// What a prediction says of itself to the rows behind it.
void Session::Impl::look_at(int32_t slot, bool remembered, Past& past) {
  past.entropy = past.margin = std::numeric_limits<float>::quiet_NaN();
  if (!remembered) return;
  LogitStats stats;
  kernels.logit_stats.run({.logits = logits(slot).data(), .vocab = width, .dst = &stats}, 0, 1);
  past.entropy = stats.entropy;
  past.margin = std::exp(stats.max - stats.log_sum) - std::exp(stats.second - stats.log_sum);
}

// A row as it enters a later step to go on from its last exact state.
RowState Session::Impl::owing(const RowState& row) {
  return {.token = row.token,
          .sequence = row.sequence,
          .position = row.position,
          .cell = row.cell,
          .last_cell = row.last_cell,
          .generated = row.generated,
          .kind = row.kind,
          .macs = row.macs,
          .full_macs = row.full_macs,
          .from = row.owes_from,
          .macs_before = row.macs,
          .state = row.kept,
          .asks = false,
          .kept = row.kept,
          .owes_from = row.owes_from};
}

// What the sequence brings along behind a position.
void Session::Impl::book(int32_t sequence_idx, int32_t position) {
  Sequence& s = sequence(sequence_idx);
  Past& past = s.past[static_cast<size_t>(position)];
  const Past* before = position > 0 ? &past - 1 : nullptr;
  past.after = before != nullptr ? before->after : SequenceHistory{};
  past.generated = before != nullptr ? before->generated : 0;
  if (past.kind == RowKind::generated) {
    ++past.generated;
    past.after.macs += past.macs;
    past.after.full_macs += past.full_macs;
  }
  if (!std::isnan(past.entropy)) past.after.last_entropy = past.entropy;
  if (!std::isnan(past.margin)) past.after.predicted(past.margin);
  history[static_cast<size_t>(sequence_idx)] = past.after;
}

void Session::Impl::tell(Trace& trace) {
  traced.clear();
  for (const RowState& row : rows) {
    const RowRole role = row.settles != Settles::nothing ? RowRole::settled
                         : row.draft                     ? RowRole::draft
                                                         : RowRole::certain;
    traced.push_back({row.sequence, row.position, row.token, row.kind, role});
  }
  trace.rows(traced);
}

LayerLoop Session::Impl::loop() {
  LayerLoop loop{model.config(), model.weights(), kernels, work,    pool, cache, buffers,
                 rows,           inexact_from,    active,  boundary};
  loop.fitted = exits.get();
  loop.group = group;
  loop.routers = routers.get();
  loop.labels = labels.get();
  loop.classes = token_classes.empty() ? nullptr : token_classes.data();
  if (states.keeps_any()) loop.states = &states;
  loop.observer = observer;
  return loop;
}

Result<StepResult> Session::Impl::run(std::span<const Row> step, const Plan& plan, Trace* trace) {
  FATHOM_TRY(check(step));
  FATHOM_TRY(check_encoder(plan));
  const bool checks_answers = !plan.settles_all && reads(plan.policy, kExitSignals);
  if (!model.config().encodes() && (exits != nullptr || observer != nullptr || checks_answers)) {
    FATHOM_TRY(buffers.make_answers());
  }
  FATHOM_TRY(check_fitted(plan));
  if (token_classes.empty() && (reads(plan.policy, Signal::token_class) || plan.noise))
    token_classes = classes_of(model.tokenizer());
  FATHOM_TRY(admit(step, plan));
  if (trace != nullptr) tell(*trace);
  const ModelConfig& config = model.config();
  boundary.begin(plan.settles_all ? PolicyRef{} : plan.policy, trace, config.n_layers, rows, history);
  LayerLoop loop = this->loop();
  if (!plan.silent.empty()) loop.silenced = &*silenced;
  const bool defers = plan.defers();
  if (defers) loop.hot = &*hot;
  if (plan.check_tokens > 0 && checks) loop.checks = &*checks;
  if (plan.screens && !defers) {
    loop.screen = &*screen;
    loop.uses = uses;
    loop.reports = reports;
  }
  width = defers ? std::ssize(hot->tokens()) : buffers.vocab;
  n_logits = std::count_if(rows.begin(), rows.end(), [](const RowState& row) { return row.predicts; });
  loop.run();
  if (plan.hot_tokens > 0 && !defers) watch_head();
  conclude(plan);
  const std::span<const RowResult> all = results;
  return StepResult{.rows = all.subspan(n_settling),
                    .settled = all.first(n_settling),
                    .logits = View<const float, 2>(buffers.logits, {n_logits, width}),
                    .tokens = defers ? hot->tokens() : std::span<const int32_t>{}};
}

Result<StepResult> Session::step(std::span<const Row> rows, PolicyRef policy, Trace* trace) {
  return impl_->run(rows, impl_->plan(policy), trace);
}

Result<StepResult> Session::settle(std::span<const Row> rows, PolicyRef policy, Trace* trace,
                                   std::span<const int32_t> only) {
  Impl::Plan plan = impl_->plan(policy);
  plan.kv = KvMode::fill;  // full depth leaves nothing owed
  plan.max_owing = 0;
  plan.settles_all = true;
  plan.only = only;
  return impl_->run(rows, plan, trace);
}

void Session::expect(int32_t sequence, const SampleOptions* options, int64_t number) noexcept {
  FATHOM_ASSERT(0 <= sequence && sequence < impl_->options.max_sequences);
  impl_->sequence(sequence).sampling = options;
  impl_->sequence(sequence).number = number;
}

void Session::observe(LayerObserver* observer) noexcept { impl_->observer = observer; }

PassCosts Session::pass_costs(const Policy& policy) {
  Impl& s = *impl_;
  if (!s.row_costs) {
    LayerLoop loop = s.loop();
    s.row_costs = RowCosts::measure(loop, std::min(s.options.max_rows, s.options.max_logit_rows));
  }
  return s.row_costs->passes(policy.is_full_depth() ? policy.settings().hot_tokens : 0, s.model.config().vocab);
}

bool Session::was_listed(int32_t token) const noexcept {
  return impl_->hot && token >= 0 && token < impl_->model.config().vocab && impl_->hot->was_listed(token);
}

int32_t Session::owed(int32_t sequence) const noexcept {
  FATHOM_ASSERT(0 <= sequence && sequence < impl_->options.max_sequences);
  return static_cast<int32_t>(impl_->sequence(sequence).owing.size());
}

std::span<const int32_t> Session::tokens(int32_t sequence) const noexcept {
  FATHOM_ASSERT(0 <= sequence && sequence < impl_->options.max_sequences);
  return impl_->sequences[static_cast<size_t>(sequence)].tokens;
}

Result<void> Session::truncate(int32_t sequence, int32_t length) {
  Impl& s = *impl_;
  if (sequence < 0 || sequence >= s.options.max_sequences) {
    return Error{ErrorCode::argument, fmt::format("sequence {} is outside 0..{}: raise SessionOptions::max_sequences",
                                                  sequence, s.options.max_sequences - 1)};
  }
  const auto i = static_cast<size_t>(sequence);
  if (length < 0 || length > this->length(sequence)) {
    return Error{ErrorCode::argument, fmt::format("sequence {}: cannot cut to {} positions, it holds {}", sequence,
                                                  length, this->length(sequence))};
  }
  s.cache.truncate(sequence, length);
  Impl::Sequence& kept = s.sequences[i];
  kept.tokens.resize(static_cast<size_t>(length));
  kept.past.erase(kept.past.begin() + length, kept.past.end());
  while (!kept.owing.empty() && kept.owing.back().position >= length) kept.owing.pop_back();
  s.states.truncate(sequence, length);
  s.history[i] = length > 0 ? kept.past.back().after : SequenceHistory{};
  const size_t n_layers = s.model.config().layers.size();
  for (size_t l = i * n_layers; l < (i + 1) * n_layers; ++l) {
    if (s.inexact_from[l] >= length) s.inexact_from[l] = kNever;
  }
  return {};
}

const Model& Session::model() const noexcept { return impl_->model; }
const SessionOptions& Session::options() const noexcept { return impl_->options; }
const KvCache& Session::cache() const noexcept { return impl_->cache; }
ThreadPool& Session::pool() noexcept { return impl_->pool; }
const KernelTable& Session::kernels() const noexcept { return impl_->kernels; }

}  // namespace fathom
