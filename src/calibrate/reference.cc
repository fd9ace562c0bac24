// Reference: tokens that were kept, or a second runner that goes ahead by one step.
#include "src/calibrate/reference.h"

#include <algorithm>

namespace fathom {
namespace {

using Tokens = std::vector<std::vector<int32_t>>;  // [texts][compared]

Result<Tokens> read_tokens(PieceRunner& runner, std::span<const PieceText* const> texts, Progress& progress) {
  Tokens truth;
  for (const PieceText* text : texts) {
    std::vector<int32_t>& tokens = truth.emplace_back();
    FATHOM_TRY(runner.run_at(*text, text->compared(), [&](const PieceStep& step) {
      for (const LogitStats& stats : step.stats) tokens.push_back(stats.argmax);
    }));
    FATHOM_TRY(progress.at(double(truth.size()) / double(texts.size())));
  }
  return truth;
}

Answer answer_of(const LogitStats& stats, View<const float, 2> logits, int64_t row) {
  return {.best = stats.argmax, .max = stats.max, .logits = logits[row].flat()};
}

}  // namespace

bool are_tokens(std::span<const PieceText* const> texts, const Tokens& kept, int32_t vocab) {
  if (kept.size() != texts.size()) return false;
  for (size_t t = 0; t < texts.size(); ++t) {
    if (kept[t].size() != size_t(texts[t]->n_compared())) return false;
    if (!std::all_of(kept[t].begin(), kept[t].end(), [&](int32_t id) { return id >= 0 && id < vocab; })) return false;
  }
  return true;
}

Result<Tokens> true_tokens(PieceRunner& runner, std::span<const PieceText* const> texts, Progress& progress) {
  if (runner.loss().compares_logits()) return Tokens(texts.size());
  const int32_t vocab = runner.session().model().config().vocab;
  return runner.journal().part<Tokens>(
      "full depth's tokens", [&] { return read_tokens(runner, texts, progress); },
      [&](const Tokens& kept) { return are_tokens(texts, kept, vocab); });
}

Result<void> Reference::begin(const PieceText& text, std::span<const int32_t> asked, std::span<const int32_t> tokens) {
  text_ = &text;
  asked_ = asked, tokens_ = tokens;
  there_ = {};
  if (!runner_.loss().compares_logits()) return {};
  FATHOM_TRY(full_, runner_.beside());
  return full_->begin(text, Policy());
}

int32_t Reference::token_at(int32_t place) const {
  return tokens_[size_t(std::lower_bound(asked_.begin(), asked_.end(), place) - asked_.begin())];
}

Result<std::span<const float>> Reference::measure(Measure measure, std::span<const int32_t> places,
                                                  std::span<const LogitStats> stats, View<const float, 2> logits) {
  measured_.resize(places.size());
  if (places.empty()) return std::span<const float>();
  const Loss& loss = runner_.loss();
  if (full_ == nullptr) {
    for (size_t i = 0; i < places.size(); ++i) {
      measured_[i] = (loss.*measure)({.best = token_at(places[i])}, answer_of(stats[i], logits, int64_t(i)));
    }
    return std::span<const float>(measured_);
  }
  while (there_.places.empty() || there_.places.back() < places.front()) {
    FATHOM_TRY(there_, full_->next(*text_, Policy(), &asked_));
  }
  FATHOM_ASSERT(there_.places.front() <= places.front() && there_.places.back() >= places.back());
  runner_.session().pool().run(std::ssize(places), [&](int64_t i) {
    const auto at = std::lower_bound(there_.places.begin(), there_.places.end(), places[size_t(i)]);
    const auto row = at - there_.places.begin();
    measured_[size_t(i)] = (loss.*measure)(answer_of(there_.stats[size_t(row)], there_.logits, row),
                                           answer_of(stats[size_t(i)], logits, i));
  });
  return std::span<const float>(measured_);
}

}  // namespace fathom
