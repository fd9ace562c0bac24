// PieceRunner: steps of at most 64 rows, or of one where the policy reads what the row before did.
#include "src/calibrate/piece_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fathom/engine/generate.h"
#include "fathom/ops/rows.h"

namespace fathom {

Result<PieceRunner> PieceRunner::make(const Model& model, const Pieces& pieces, int threads) {
  int32_t tokens = 2, prompt = 1;
  for (const Piece& piece : pieces.pieces) {
    const auto n = static_cast<int32_t>(piece.tokens.size());
    if (piece.prompt) prompt = std::max(prompt, n);
    tokens = std::max(tokens, piece.prompt ? pieces.piece_tokens : n);
  }
  FATHOM_TRY(Session session, Session::make(model, {.max_tokens = prompt + 1 + tokens,
                                                    .max_rows = kRunnerRows,
                                                    .max_logit_rows = kRunnerRows,
                                                    .threads = threads}));
  return PieceRunner(std::move(session), pieces.piece_tokens);
}

Result<PieceRunner*> PieceRunner::beside() {
  if (beside_ == nullptr) {
    FATHOM_TRY(Session session, Session::make(session_.model(), session_.options()));
    beside_.reset(new PieceRunner(std::move(session), piece_tokens_));
  }
  return beside_.get();
}

Result<PieceText> PieceRunner::text_of(const Piece& piece) {
  const Tokenizer& tokenizer = session_.model().tokenizer();
  PieceText text{.group = piece.group, .split = piece.split, .prompt = piece.prompt, .lead = {}, .tokens = {}};
  if (tokenizer.adds_bos()) text.lead.push_back(tokenizer.bos());
  if (!piece.prompt) {
    text.tokens = piece.tokens;
    return text;
  }
  text.lead.insert(text.lead.end(), piece.tokens.begin(), piece.tokens.end());
  FATHOM_TRY(Generation written, generate(session_, text.lead, {.max_new_tokens = piece_tokens_}));
  text.tokens = std::move(written.tokens);
  return text;
}

// The lead runs at full depth, whatever the policy; what the policy looks back on is kept of it.
Result<void> PieceRunner::begin(const PieceText& text, const Policy& policy) {
  at_ = 0;
  FATHOM_TRY(session_.truncate(0, 0));
  for (size_t from = 0; from < text.lead.size(); from += kRunnerRows) {
    rows_.clear();
    for (size_t i = from; i < std::min(text.lead.size(), from + kRunnerRows); ++i) {
      rows_.push_back({.token = text.lead[i], .position = static_cast<int32_t>(i)});
    }
    FATHOM_TRY(session_.settle(rows_, policy.ref()));
  }
  return {};
}

Result<PieceStep> PieceRunner::next(const PieceText& text, const Policy& policy,
                                    const std::span<const int32_t>* asked) {
  const int32_t n = policy.is_sequential() ? 1 : std::min(kRunnerRows, text.places() - at_);
  rows_.clear();
  places_.clear();
  for (int32_t i = at_; i < at_ + n; ++i) {
    const bool predicts = asked == nullptr || std::binary_search(asked->begin(), asked->end(), i);
    rows_.push_back({.token = text.tokens[static_cast<size_t>(i)],
                     .position = static_cast<int32_t>(text.lead.size()) + i,
                     .kind = RowKind::generated,
                     .logits = predicts});
    if (predicts) places_.push_back(i);
  }
  FATHOM_TRY(const StepResult result, session_.step(rows_, policy.ref()));
  stats_.resize(places_.size());
  if (!places_.empty()) {
    run_rows(session_.pool(), session_.kernels().logit_stats, std::ssize(places_), result.logits.dim(1),
             LogitStatsArgs{.logits = result.logits.data(), .vocab = result.logits.dim(1), .dst = stats_.data()});
  }
  for (const LogitStats& stats : stats_) {
    if (std::isfinite(stats.max) && std::isfinite(stats.log_sum)) continue;
    return Error{ErrorCode::format,
                 fmt::format("a piece of group {}: the logits hold no number: the model file is damaged", text.group)};
  }
  const int32_t first = at_;
  at_ += n;
  return PieceStep{first, result.rows, places_, stats_, result.logits};
}

}  // namespace fathom
