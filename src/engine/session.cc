// Session: checks what enters a step, runs the layer loop, and keeps what sequences bring along.
#include "fathom/engine/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "fathom/engine/layer_loop.h"

namespace fathom {
namespace {

constexpr int32_t kNever = std::numeric_limits<int32_t>::max();
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
                                                         {"gated", k.gated.name},
                                                         {"add", k.add.name},
                                                         {"rope", k.rope.name},
                                                         {"kv_write", k.kv_write.name},
                                                         {"attention", k.attention.name},
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

struct Session::Impl {
  // What a position leaves behind for the policies of rows to come.
  struct Past {
    RowKind kind;
    double macs, full_macs;
    float entropy;  // of its prediction; NaN where it made none, or nobody asked
  };
  // What a sequence is between steps.
  struct Sequence {
    std::vector<int32_t> tokens;  // by position
    std::vector<Past> past;       // by position
    int32_t generated = 0;        // generated rows so far
    int32_t pending = 0;          // rows of the step being checked
    int32_t pending_generated = 0;
  };

  Model model;
  SessionOptions options;
  KernelTable kernels;
  WorkModel work;
  ThreadPool pool;
  KvCache cache;
  StepBuffers buffers;
  ActiveSet active;
  Boundary boundary;
  std::vector<Sequence> sequences;
  std::vector<SequenceHistory> history;  // [sequences]
  std::vector<int32_t> inexact_from;     // [sequences, n_layers]
  std::vector<RowState> rows;
  std::vector<RowResult> results;
  std::vector<TraceRow> traced;

  Result<void> check(std::span<const Row> step) const;
  Result<void> admit(std::span<const Row> step, PolicyRef policy);
  bool reads(PolicyRef policy, SignalSet signals) const;
  void conclude(PolicyRef policy);
  void remember(int32_t sequence, const Past& past);
};

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
  FATHOM_TRY(StepBuffers buffers, StepBuffers::make(config, options.max_rows, options.max_logit_rows));
  FATHOM_TRY(buffers.attention, AttentionPlan::make(attention_limits(config, options)));
  const KernelTable kernels = merge(model.tables());
  FATHOM_TRY(check_kernels(kernels));
  const auto n = static_cast<size_t>(options.max_sequences);
  return Session(std::unique_ptr<Impl>(new Impl{.model = model,
                                                .options = options,
                                                .kernels = kernels,
                                                .work = WorkModel(config),
                                                .pool = std::move(pool),
                                                .cache = std::move(cache),
                                                .buffers = std::move(buffers),
                                                .active = {},
                                                .boundary = {},
                                                .sequences = std::vector<Impl::Sequence>(n),
                                                .history = std::vector<SequenceHistory>(n),
                                                .inexact_from = std::vector<int32_t>(n * config.layers.size(), kNever),
                                                .rows = {},
                                                .results = {},
                                                .traced = {}}));
}

Result<void> Session::Impl::check(std::span<const Row> step) const {
  if (step.empty() || std::ssize(step) > options.max_rows) {
    return Error{ErrorCode::capacity, fmt::format("a step of {} rows: give 1..{} (SessionOptions::max_rows)",
                                                  step.size(), options.max_rows)};
  }
  int32_t predicting = 0;
  for (const Row& row : step) {
    if (row.sequence < 0 || row.sequence >= options.max_sequences) {
      return Error{ErrorCode::argument, fmt::format("sequence {} is outside 0..{}: raise SessionOptions::max_sequences",
                                                    row.sequence, options.max_sequences - 1)};
    }
    if (row.token < 0 || row.token >= model.config().vocab) {
      return Error{ErrorCode::argument, fmt::format("token {} is outside the vocabulary 0..{}: use ids of this model's "
                                                    "tokenizer",
                                                    row.token, model.config().vocab - 1)};
    }
    predicting += row.logits;
  }
  if (predicting > options.max_logit_rows) {
    return Error{ErrorCode::capacity, fmt::format("a step with logits for {} rows of {}: raise "
                                                  "SessionOptions::max_logit_rows",
                                                  predicting, options.max_logit_rows)};
  }
  return {};
}

// Turns the caller's rows into running ones; positions must continue their sequences.
Result<void> Session::Impl::admit(std::span<const Row> step, PolicyRef policy) {
  for (const Row& row : step) {
    Sequence& s = sequences[static_cast<size_t>(row.sequence)];
    s.pending = s.pending_generated = 0;
  }
  rows.clear();
  int32_t slots = 0;
  for (const Row& row : step) {
    Sequence& s = sequences[static_cast<size_t>(row.sequence)];
    const int32_t next = static_cast<int32_t>(s.tokens.size()) + s.pending;
    if (row.position != next) {
      return Error{ErrorCode::argument, fmt::format("sequence {}: position {} does not continue it; the next is {}",
                                                    row.sequence, row.position, next)};
    }
    ++s.pending;
    rows.push_back({.token = row.token,
                    .sequence = row.sequence,
                    .position = row.position,
                    .generated = row.kind == RowKind::generated ? s.generated + s.pending_generated : 0,
                    .kind = row.kind,
                    .predicts = row.logits,
                    .slot = row.logits ? slots++ : -1,
                    .full_macs = work.full(row.position, row.logits)});
    s.pending_generated += row.kind == RowKind::generated;
  }
  const bool one_by_one = policy.table != nullptr && policy.table->sequential(policy.self);
  for (const Row& row : step) {
    if (!one_by_one || row.kind == RowKind::prompt || sequences[static_cast<size_t>(row.sequence)].pending == 1)
      continue;
    return Error{
        ErrorCode::argument,
        fmt::format("sequence {}: a generated row beside others in one step, but the policy reads what the row "
                    "before did: give it one row a step",
                    row.sequence)};
  }
  for (const Row& row : step) FATHOM_TRY(cache.reserve(row.sequence, row.position + 1));
  return {};
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

// Books what the rows did: results for the caller, history for the rows to come.
void Session::Impl::conclude(PolicyRef policy) {
  const bool entropies = reads(policy, Signal::last_entropy);
  results.clear();
  for (const RowState& row : rows) {
    FATHOM_ASSERT(!cache.has_hole(row.sequence, row.position));
    results.push_back({.depth = row.half_layers / 2, .macs = row.macs, .full_macs = row.full_macs, .logits = row.slot});
    LogitStats stats{.entropy = std::numeric_limits<float>::quiet_NaN()};
    if (entropies && row.slot >= 0) {
      kernels.logit_stats.run(
          {.logits = buffers.logits + row.slot * buffers.vocab, .vocab = buffers.vocab, .dst = &stats}, 0, 1);
    }
    Sequence& s = sequences[static_cast<size_t>(row.sequence)];
    s.tokens.push_back(row.token);
    s.past.push_back({row.kind, row.macs, row.full_macs, stats.entropy});
    remember(row.sequence, s.past.back());
  }
}

void Session::Impl::remember(int32_t sequence, const Past& past) {
  SequenceHistory& h = history[static_cast<size_t>(sequence)];
  if (past.kind == RowKind::generated) {
    ++sequences[static_cast<size_t>(sequence)].generated;
    h.macs += past.macs;
    h.full_macs += past.full_macs;
  }
  if (!std::isnan(past.entropy)) h.last_entropy = past.entropy;
}

Result<StepResult> Session::step(std::span<const Row> step, PolicyRef policy, Trace* trace) {
  Impl& s = *impl_;
  FATHOM_TRY(s.check(step));
  FATHOM_TRY(s.admit(step, policy));
  if (s.reads(policy, kExitSignals)) FATHOM_TRY(s.buffers.make_answers());
  if (trace != nullptr) {
    s.traced.clear();
    for (const Row& row : step) s.traced.push_back({row.sequence, row.position, row.token, row.kind});
    trace->rows(s.traced);
  }
  const ModelConfig& config = s.model.config();
  s.boundary.begin(policy, trace, config.n_layers, s.rows, s.history);
  LayerLoop loop{config, s.model.weights(), s.kernels, s.work,    s.pool, s.cache, s.buffers,
                 s.rows, s.inexact_from,    s.active,  s.boundary};
  loop.run();
  s.conclude(policy);
  int64_t n_logits = 0;
  for (const RowState& row : s.rows) n_logits += row.predicts;
  return StepResult{.rows = s.results, .logits = View<const float, 2>(s.buffers.logits, {n_logits, s.buffers.vocab})};
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
  kept.generated = 0;
  s.history[i] = {};
  for (const Impl::Past& past : kept.past) s.remember(sequence, past);
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
