// perplexity(): windows of a text under a policy, beside the same windows at full depth.
#include "fathom/engine/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "fathom/ops/rows.h"

namespace fathom {
namespace {

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();

// One window of the text in flight: its cells, and where its text begins.
struct Window {
  std::vector<int32_t> cells;  // with the beginning-of-text token, where there is one
  int64_t first_token = 0;     // index in the text of the first cell that is text
  bool whole = false;
};

// KL(p || q) of two rows of logits, nats.
double divergence(std::span<const float> p, const LogitStats& p_stats, std::span<const float> q,
                  const LogitStats& q_stats) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_stats.log_sum;
    sum += std::exp(log_p) * (log_p - (q[i] - q_stats.log_sum));
  }
  return std::max(sum, 0.0);
}

class Scorer {
 public:
  Scorer(Session& session, std::span<const int32_t> text, const PerplexityOptions& options)
      : session_(session),
        text_(text),
        options_(options),
        saves_(!options.policy.is_full_depth()),
        side_by_side_(session.options().max_sequences / (saves_ ? 2 : 1)) {
    const Tokenizer& tokenizer = session.model().tokenizer();
    bos_ = tokenizer.adds_bos() ? tokenizer.bos() : -1;
    const int32_t rows = std::min(session.options().max_logit_rows, session.options().max_rows);
    const bool one_by_one = saves_ && options.policy.is_sequential();
    const Settings settings = options.policy.settings();
    if (settings.kv == KvMode::settle_later) rows_each_most_ = settings.kv_max_rows;
    side_by_side_ = std::min(side_by_side_, rows);
    rows_each_ = one_by_one ? 1 : std::clamp(rows / side_by_side_, 1, rows_each_most_);
  }

  Result<Perplexity> run() {
    out_.n_tokens = std::ssize(text_);
    out_.tokens.resize(text_.size());
    for (size_t i = 0; i < text_.size(); ++i) {
      out_.tokens[i] = {.id = text_[i], .argmax = -1, .nll = kNone, .depth = kNone};
    }
    std::vector<Window> windows = cut();
    for (size_t at = 0; at < windows.size(); at += static_cast<size_t>(side_by_side_)) {
      const size_t n = std::min(windows.size() - at, static_cast<size_t>(side_by_side_));
      done_ = int64_t(at), all_ = std::ssize(windows);
      FATHOM_TRY(score(std::span(windows).subspan(at, n)));
      if (options_.on_progress != nullptr) options_.on_progress(options_.context, int64_t(at + n), all_);
    }
    const auto rows = static_cast<double>(rows_run_);
    out_.perplexity =
        out_.n_scored > 0 ? std::exp(nll_ / double(out_.n_scored)) : std::numeric_limits<double>::quiet_NaN();
    out_.agreement = saves_ ? double(agreed_) / rows : 1;
    out_.kl = kl_ / rows;
    out_.mean_depth = depth_ / rows;
    out_.work = macs_ / full_macs_;
    return std::move(out_);
  }

 private:
  std::vector<Window> cut() const {
    std::vector<Window> windows;
    const int64_t lead = bos_ >= 0 ? 1 : 0, stride = options_.window - lead;
    for (int64_t at = 0; at < std::ssize(text_); at += stride) {
      const auto piece = text_.subspan(size_t(at), size_t(std::min(stride, std::ssize(text_) - at)));
      Window w{.cells = {}, .first_token = at, .whole = std::ssize(piece) == stride};
      if (lead != 0) w.cells.push_back(bos_);
      w.cells.insert(w.cells.end(), piece.begin(), piece.end());
      windows.push_back(std::move(w));
    }
    return windows;
  }

  // Rows [at, at + rows_each) of every window, in sequences from `first_sequence` on.
  std::vector<Row> rows_at(std::span<const Window> windows, int32_t at, int32_t first_sequence) const {
    std::vector<Row> rows;
    for (size_t w = 0; w < windows.size(); ++w) {
      const int32_t end = std::min(at + rows_each_, static_cast<int32_t>(windows[w].cells.size()));
      for (int32_t p = at; p < end; ++p) {
        rows.push_back({.token = windows[w].cells[size_t(p)],
                        .sequence = first_sequence + int32_t(w),
                        .position = p,
                        .kind = RowKind::generated,
                        .logits = true});
      }
    }
    return rows;
  }

  Result<void> score(std::span<const Window> windows) {
    for (int32_t s = 0; s < session_.options().max_sequences; ++s) FATHOM_TRY(session_.truncate(s, 0));
    int32_t longest = 0;
    for (const Window& w : windows) longest = std::max(longest, int32_t(w.cells.size()));
    for (int32_t at = 0; at < longest; at += rows_each_) {
      if (options_.on_progress != nullptr && !options_.on_progress(options_.context, done_, all_)) {
        return Error{ErrorCode::cancelled, fmt::format("stopped after {} of {} windows", done_, all_)};
      }
      if (saves_) {
        const std::vector<Row> rows = rows_at(windows, at, side_by_side_);
        FATHOM_TRY(const StepResult full, session_.step(rows));
        full_.assign(full.logits.data(), full.logits.data() + full.logits.size());
        full_stats_ = stats_of(full.logits);
      }
      const std::vector<Row> rows = rows_at(windows, at, 0);
      FATHOM_TRY(const StepResult result, session_.step(rows, options_.policy.ref()));
      for (const RowResult& row : result.settled) macs_ += row.step_macs;
      stats_ = stats_of(result.logits);
      if (saves_) compare(result.logits);
      for (size_t i = 0; i < rows.size(); ++i) {
        book(windows[size_t(rows[i].sequence)], rows[i].position, result.rows[i], result.logits[int64_t(i)].flat(),
             stats_[i]);
      }
    }
    return {};
  }

  std::vector<LogitStats> stats_of(View<const float, 2> logits) {
    std::vector<LogitStats> stats(size_t(logits.dim(0)));
    run_rows(session_.pool(), session_.kernels().logit_stats, logits.dim(0), logits.dim(1),
             LogitStatsArgs{.logits = logits.data(), .vocab = logits.dim(1), .dst = stats.data()});
    return stats;
  }

  // Agreement and divergence of the step's rows with the same rows at full depth.
  void compare(View<const float, 2> logits) {
    std::vector<double> kl(stats_.size());
    session_.pool().run(std::ssize(kl), [&](int64_t i) {
      const std::span<const float> row = logits[i].flat(), full(full_.data() + size_t(i) * row.size(), row.size());
      kl[size_t(i)] = divergence(full, full_stats_[size_t(i)], row, stats_[size_t(i)]);
    });
    for (size_t i = 0; i < kl.size(); ++i) {
      kl_ += kl[i];
      agreed_ += full_stats_[i].argmax == stats_[i].argmax;
    }
  }

  // One row: it predicts the cell after it; its cost counts in any case.
  void book(const Window& window, int32_t position, const RowResult& row, std::span<const float> logits,
            const LogitStats& stats) {
    ++rows_run_;
    depth_ += row.depth;
    macs_ += row.step_macs;
    full_macs_ += row.full_macs;
    const size_t next = size_t(position) + 1;
    if (next >= window.cells.size()) return;
    const int64_t lead = bos_ >= 0 ? 1 : 0;
    ScoredToken& token = out_.tokens[size_t(window.first_token + int64_t(next) - lead)];
    token.argmax = stats.argmax;
    token.nll = stats.log_sum - logits[size_t(token.id)];
    token.depth = row.depth;
    token.scored = window.whole && position >= options_.window / 2;
    if (!token.scored) return;
    nll_ += token.nll;
    ++out_.n_scored;
  }

  Session& session_;
  std::span<const int32_t> text_;
  const PerplexityOptions& options_;
  bool saves_;
  int32_t side_by_side_;
  int32_t rows_each_ = 1, rows_each_most_ = std::numeric_limits<int32_t>::max();
  int32_t bos_ = -1;
  std::vector<float> full_;                     // [rows, vocab] logits of full depth for the rows of the step
  std::vector<LogitStats> full_stats_, stats_;  // [rows]
  Perplexity out_;
  int64_t done_ = 0, all_ = 0;  // windows
  int64_t rows_run_ = 0, agreed_ = 0;
  double nll_ = 0, kl_ = 0, depth_ = 0, macs_ = 0, full_macs_ = 0;
};

}  // namespace

Result<Perplexity> perplexity(Session& session, std::span<const int32_t> text, const PerplexityOptions& options) {
  FATHOM_TRY(options.policy.check(session.model().config().n_layers));
  if (options.window < 8 || options.window > session.options().max_tokens) {
    return Error{ErrorCode::argument, fmt::format("window {} is outside 8..{}: raise SessionOptions::max_tokens or use "
                                                  "a smaller one",
                                                  options.window, session.options().max_tokens)};
  }
  if (options.policy.settings().kv == KvMode::verify) {
    return Error{ErrorCode::argument,
                 fmt::format("perplexity under {}: what kv(verify) confirms is full depth's: leave it "
                             "out to score the savings, or score full_depth",
                             options.policy.text())};
  }
  if (text.empty()) return Error{ErrorCode::argument, "the text is empty: give at least one token"};
  if (!options.policy.is_full_depth() && session.options().max_sequences < 2) {
    return Error{ErrorCode::argument, "SessionOptions::max_sequences 1: comparing with full depth takes at least 2"};
  }
  return Scorer(session, text, options).run();
}

}  // namespace fathom
