// Filling steps, and what is booked when one is over.
#include "src/engine/text_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace fathom {
namespace {

constexpr int32_t kAround = 2;       // tokens that stand around every text
constexpr size_t kBytesAToken = 16;  // of a long text that are read first, for each token there is room for
constexpr std::string_view kBetweenWords = " \t\n\r";

Error refused(std::string message) { return {ErrorCode::argument, std::move(message)}; }

/// A step's observer as the engine knows them.
class Between final : public LayerObserver {
 public:
  Between(TextSteps::Observer& observer, std::span<const TextRows> texts) : observer_(observer), texts_(texts) {}
  void at(LayerLoop& loop, int32_t layer) noexcept override { observer_.at(loop, layer, texts_); }
  bool reads_attention(int32_t /*layer*/) const noexcept override { return observer_.reads_attention(); }

 private:
  TextSteps::Observer& observer_;
  std::span<const TextRows> texts_;
};

// A row of a text ends with no token: what the trace wants of it is what it cost.
void tell(std::span<const RowResult> rows, Trace& trace) {
  std::vector<TraceCommit> commits;
  for (const RowResult& row : rows) {
    commits.push_back({.sequence = row.sequence,
                       .position = row.position,
                       .depth = row.depth,
                       .work = static_cast<float>(row.work())});
  }
  trace.commit(commits);
}

}  // namespace

Result<TextSteps> TextSteps::make(const Model& model, const EncoderOptions& options) {
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
  if (all.max_tokens < Encoder::kLeastTokens || all.max_tokens > config.context) {
    return refused(fmt::format("EncoderOptions::max_tokens {} is outside {}..{}: the model was made for that many",
                               all.max_tokens, Encoder::kLeastTokens, config.context));
  }
  all.max_rows = std::max(all.max_rows, all.max_tokens);
  FATHOM_TRY(Session session, Session::make(model, {.max_tokens = all.max_tokens,
                                                    .max_sequences = std::min(all.max_rows / kAround, 1 << 12),
                                                    .max_rows = all.max_rows,
                                                    .max_logit_rows = 1,
                                                    .kv = DType::f32,
                                                    .threads = all.threads}));
  return TextSteps(std::move(session), all);
}

// Pieces do not cross what stands between words.
Result<TextIds> TextSteps::read(std::string_view text) const {
  const Tokenizer& tokenizer = model().tokenizer();
  const auto room = static_cast<size_t>(options_.max_tokens - kAround);
  TextIds out;
  for (size_t bytes = room * kBytesAToken;; bytes *= 2) {
    const size_t end = bytes < text.size() ? text.find_first_of(kBetweenWords, bytes) : std::string_view::npos;
    const bool whole = end == std::string_view::npos;
    FATHOM_TRY(out.ids, tokenizer.encode(text.substr(0, end), {.special = false, .bos = false}));
    if (whole || out.ids.size() > room) break;
  }
  out.truncated = out.ids.size() > room;
  if (out.truncated) out.ids.resize(room);
  out.ids.insert(out.ids.begin(), tokenizer.bos());
  out.ids.push_back(tokenizer.eos());
  return out;
}

Result<std::vector<TextRun>> TextSteps::run(std::span<const TextIds> texts, const Policy& policy, Trace* trace,
                                            Observer& observer) {
  FATHOM_TRY(policy.check(model().config().n_layers));
  std::vector<TextRun> runs(texts.size());
  rows_.clear();
  in_step_.clear();
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<int32_t>& ids = texts[i].ids;
    const bool full = std::ssize(rows_) + std::ssize(ids) > options_.max_rows ||
                      std::ssize(in_step_) == session_.options().max_sequences;
    if (full) FATHOM_TRY(step(policy, trace, observer, runs));
    const auto sequence = static_cast<int32_t>(in_step_.size());
    in_step_.push_back({.text = i, .first = std::ssize(rows_), .n = std::ssize(ids)});
    for (size_t p = 0; p < ids.size(); ++p) {
      rows_.push_back({.token = ids[p],
                       .sequence = sequence,
                       .position = static_cast<int32_t>(p),
                       .kind = RowKind::generated});  // what depth stages act on unless told otherwise
    }
  }
  FATHOM_TRY(step(policy, trace, observer, runs));
  return runs;
}

Result<void> TextSteps::step(const Policy& policy, Trace* trace, Observer& observer, std::span<TextRun> runs) {
  if (in_step_.empty()) return {};
  Between between(observer, in_step_);
  session_.observe(&between);
  const auto result = session_.step(rows_, policy.ref(), trace);
  session_.observe(nullptr);
  if (!result) return result.error();
  if (trace != nullptr) tell(result->rows, *trace);
  for (size_t i = 0; i < in_step_.size(); ++i) {
    const TextRows& text = in_step_[i];
    double depth = 0, macs = 0, full = 0;  // depths are exact: halves of layers
    int32_t kept = 0;
    for (const RowResult& row : result->rows.subspan(static_cast<size_t>(text.first), static_cast<size_t>(text.n))) {
      depth += row.depth;
      macs += row.macs;
      full += row.full_macs;
      kept += !row.removed;
    }
    runs[text.text] = {
        .depth = static_cast<float>(depth / static_cast<double>(text.n)), .work = macs / full, .tokens_kept = kept};
    FATHOM_TRY(session_.truncate(static_cast<int32_t>(i), 0));
  }
  rows_.clear();
  in_step_.clear();
  return {};
}

std::vector<double> mean_state(const LayerLoop& loop, int64_t first, int64_t n) {
  StateMean mean(loop.config.d_model);
  for (int64_t r = first; r < first + n; ++r) {
    const RowState& row = loop.row(static_cast<int32_t>(r));
    if (!row.removed) mean.add(row, loop.buffers.state(r));
  }
  return std::move(mean).value();
}

}  // namespace fathom
