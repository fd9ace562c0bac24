// Encoder: texts to tokens, steps filled with whole texts, and the rows of each made one embedding.
#include "fathom/engine/embed.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "fathom/engine/layer_loop.h"
#include "fathom/engine/session.h"

namespace fathom {
namespace {

constexpr int32_t kAround = Encoder::kLeastTokens - 1;  // tokens that stand around every text
constexpr size_t kBytesAToken = 16;  // of a long text that are read first, for each token there is room for
constexpr std::string_view kBetweenWords = " \t\n\r";

Error refused(std::string message) { return {ErrorCode::argument, std::move(message)}; }

/// The rows of each sequence, pooled when the last layer is behind them.
class Pool final : public LayerObserver {
 public:
  void begin(Pooling pooling, std::span<Embedding*> texts) {
    pooling_ = pooling;
    texts_ = texts;
    first_.assign(texts.size(), -1);
  }

  void at(LayerLoop& loop, int32_t layer) noexcept override {
    if (layer != loop.config.n_layers) return;
    for (size_t i = loop.rows.size(); i-- > 0;) first_[static_cast<size_t>(loop.rows[i].sequence)] = std::ptrdiff_t(i);
    loop.pool.run(std::ssize(texts_),
                  [&](int64_t i) { pool(loop, *texts_[static_cast<size_t>(i)], first_[size_t(i)]); });
  }

 private:
  void pool(const LayerLoop& loop, Embedding& text, std::ptrdiff_t first) const {
    const auto d = static_cast<size_t>(loop.config.d_model);
    const int64_t n = pooling_ == Pooling::mean ? text.tokens : 1;
    std::vector<double> sum(d, 0.0);
    for (int64_t r = first; r < first + n; ++r) {
      const auto state = loop.buffers.state(r);
      for (size_t c = 0; c < d; ++c) sum[c] += static_cast<double>(state[c]);
    }
    double square = 0;
    for (double& x : sum) {
      x /= static_cast<double>(n);
      square += x * x;
    }
    const double scale = loop.config.unit_length && square > 0 ? 1 / std::sqrt(square) : 1;
    for (size_t c = 0; c < d; ++c) text.values[c] = static_cast<float>(sum[c] * scale);
  }

  Pooling pooling_ = Pooling::mean;
  std::span<Embedding*> texts_;
  std::vector<std::ptrdiff_t> first_;  // row of each sequence
};

}  // namespace

struct Encoder::Impl {
  Model model;
  EncoderOptions options;
  Session session;
  Pool pool = {};
  std::vector<Row> rows = {};
  std::vector<Embedding*> in_step = {};  // by sequence
  std::vector<int32_t> ids = {};

  Result<void> read(std::string_view text, Embedding& out);
  Result<void> run_step(const Policy& policy, Trace* trace);
};

Encoder::Encoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;
Encoder::~Encoder() = default;

Result<Encoder> Encoder::make(const Model& model, const EncoderOptions& options) {
  const ModelConfig& config = model.config();
  if (!config.encodes()) {
    return refused(
        fmt::format("family {} predicts tokens: give an encoder, such as bert, for embeddings", config.family));
  }
  if (model.tokenizer().bos() < 0 || model.tokenizer().eos() < 0) {
    return refused(
        "the tokenizer names no token before or behind a text ([CLS], [SEP]): fetch or convert the model again");
  }
  EncoderOptions all = options;
  if (all.max_tokens == 0) all.max_tokens = config.usual_tokens;
  if (all.max_tokens < kLeastTokens || all.max_tokens > config.context) {
    return refused(fmt::format("EncoderOptions::max_tokens {} is outside {}..{}: the model was made for that many",
                               all.max_tokens, kLeastTokens, config.context));
  }
  all.max_rows = std::max(all.max_rows, all.max_tokens);
  FATHOM_TRY(Session session, Session::make(model, {.max_tokens = all.max_tokens,
                                                    .max_sequences = std::min(all.max_rows / kAround, 1 << 12),
                                                    .max_rows = all.max_rows,
                                                    .max_logit_rows = 1,
                                                    .kv = DType::f32,
                                                    .threads = all.threads}));
  return Encoder(std::unique_ptr<Impl>(new Impl{.model = model, .options = all, .session = std::move(session)}));
}

// The ids of a text, as many as there is room for. Of a long one no more is read than is needed: pieces do not cross
// what stands between words.
Result<void> Encoder::Impl::read(std::string_view text, Embedding& out) {
  const Tokenizer& tokenizer = model.tokenizer();
  const auto room = static_cast<size_t>(options.max_tokens - kAround);
  size_t bytes = room * kBytesAToken;
  for (;; bytes *= 2) {
    const size_t end = bytes < text.size() ? text.find_first_of(kBetweenWords, bytes) : std::string_view::npos;
    const bool whole = end == std::string_view::npos;
    FATHOM_TRY(ids, tokenizer.encode(text.substr(0, end), {.special = false, .bos = false}));
    if (whole || ids.size() > room) break;
  }
  out.truncated = ids.size() > room;
  if (out.truncated) ids.resize(room);
  ids.insert(ids.begin(), tokenizer.bos());
  ids.push_back(tokenizer.eos());
  out.tokens = out.tokens_kept = static_cast<int32_t>(ids.size());
  return {};
}

Result<void> Encoder::Impl::run_step(const Policy& policy, Trace* trace) {
  if (in_step.empty()) return {};
  pool.begin(model.config().pooling, in_step);
  session.observe(&pool);
  const auto result = session.step(rows, policy.ref(), trace);
  session.observe(nullptr);
  if (!result) return result.error();
  std::vector<double> macs(in_step.size(), 0.0), full(in_step.size(), 0.0);
  for (const RowResult& row : result->rows) {
    const auto i = static_cast<size_t>(row.sequence);
    in_step[i]->depth += row.depth;  // exact: halves of layers
    macs[i] += row.macs;
    full[i] += row.full_macs;
  }
  for (size_t i = 0; i < in_step.size(); ++i) {
    in_step[i]->depth /= static_cast<float>(in_step[i]->tokens);
    in_step[i]->work = macs[i] / full[i];
    FATHOM_TRY(session.truncate(static_cast<int32_t>(i), 0));
  }
  rows.clear();
  in_step.clear();
  return {};
}

Result<std::vector<Embedding>> Encoder::embed(std::span<const std::string_view> texts, const Policy& policy,
                                              Trace* trace) {
  Impl& impl = *impl_;
  FATHOM_TRY(policy.check(impl.model.config().n_layers));
  std::vector<Embedding> results(texts.size());
  impl.rows.clear();
  impl.in_step.clear();
  for (size_t i = 0; i < texts.size(); ++i) {
    Embedding& result = results[i];
    result.values.resize(static_cast<size_t>(impl.model.config().d_model));
    FATHOM_TRY(impl.read(texts[i], result));
    const bool full = std::ssize(impl.rows) + result.tokens > impl.options.max_rows ||
                      std::ssize(impl.in_step) == impl.session.options().max_sequences;
    if (full) FATHOM_TRY(impl.run_step(policy, trace));
    const auto sequence = static_cast<int32_t>(impl.in_step.size());
    for (size_t p = 0; p < impl.ids.size(); ++p) {
      impl.rows.push_back({.token = impl.ids[p],
                           .sequence = sequence,
                           .position = static_cast<int32_t>(p),
                           .kind = RowKind::generated});  // what depth stages act on unless told otherwise
    }
    impl.in_step.push_back(&result);
  }
  FATHOM_TRY(impl.run_step(policy, trace));
  for (size_t i = 0; i < results.size(); ++i) {
    const auto& values = results[i].values;
    if (std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); })) continue;
    return Error{ErrorCode::format,
                 fmt::format("text {}: its embedding holds what is no number; the model file is damaged", i + 1)};
  }
  return results;
}

const Model& Encoder::model() const noexcept { return impl_->model; }
const EncoderOptions& Encoder::options() const noexcept { return impl_->options; }

}  // namespace fathom
