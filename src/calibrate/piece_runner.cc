// PieceRunner: steps of at most 64 rows, or of one where the policy reads what the row before did.
#include "src/calibrate/piece_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fathom/engine/generate.h"
#include "fathom/engine/work.h"
#include "fathom/ops/rows.h"

namespace fathom {
namespace {

constexpr double kHeadShare = 0.25;      // of what layers take, for heads that are asked in comparisons
constexpr int32_t kFewestCompared = 16;  // fewer rows waste the kernels, and tell little of a piece

}  // namespace

int32_t compared_places(const ModelConfig& config, int32_t places) {
  const WorkModel work(config);
  const double layers = work.full(places / 2, false) * places;
  const double n = std::min(kHeadShare * layers / work.head(), double(places));
  return std::min(places, std::max(kFewestCompared, static_cast<int32_t>(n)));
}

std::vector<int32_t> PieceText::compared() const {
  const int64_t all = places(), n = n_compared();
  std::vector<int32_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int32_t>((first + i * all / n) % all));
  std::sort(out.begin(), out.end());
  return out;
}

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
  PieceText text;
  if (tokenizer.adds_bos()) text.lead.push_back(tokenizer.bos());
  if (!piece.prompt) {
    text.tokens = piece.tokens;
  } else {
    text.lead.insert(text.lead.end(), piece.tokens.begin(), piece.tokens.end());
    FATHOM_TRY(Generation written, generate(session_, text.lead, {.max_new_tokens = piece_tokens_}));
    text.tokens = std::move(written.tokens);
  }
  belong(text, piece);
  return text;
}

// A text that the model ended early has fewer places than `position` is drawn from, and is compared at all of them.
void PieceRunner::belong(PieceText& text, const Piece& piece) const {
  text.group = piece.group, text.split = piece.split, text.prompt = piece.prompt;
  text.first = piece.position;
  const int32_t places = text.places();
  text.most_compared = places == piece_tokens_ - 1 ? compared_places(session_.model().config(), places) : places;
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
    const bool is_asked = asked == nullptr || std::binary_search(asked->begin(), asked->end(), i);
    rows_.push_back({.token = text.tokens[static_cast<size_t>(i)],
                     .position = static_cast<int32_t>(text.lead.size()) + i,
                     .kind = RowKind::generated,
                     .logits = is_asked || policy.is_sequential()});
    if (is_asked) places_.push_back(i);
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
