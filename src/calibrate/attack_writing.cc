// Writing with the model: own text, wrong prefixes, and the search.
#include "src/calibrate/attack_writing.h"

#include <algorithm>
#include <cmath>

#include "src/calibrate/random.h"

namespace fathom {
namespace {

constexpr int32_t kLikeliest = 64;    // tokens that are drawn from
constexpr double kSure = 0.5;         // probability from which on a wrong token is put in the place of the right one
constexpr int32_t kBetweenWrong = 4;  // places from one wrong token to the next, at least
constexpr double kNearlyWrong = 0.5;  // of an error, that an answer counts which full depth shares but hardly holds

double probability(std::span<const float> logits, const LogitStats& stats, int32_t token) {
  return std::exp(double(logits[size_t(token)]) - stats.log_sum);
}

std::vector<AttackText> first_tokens(const TokenDraw& draw, int32_t sequences) {
  std::vector<AttackText> texts;
  for (int32_t s = 0; s < sequences; ++s) texts.push_back({.tokens = {draw.any(s)}});
  return texts;
}

std::vector<int32_t> last_tokens(std::span<const AttackText> texts) {
  std::vector<int32_t> tokens;
  for (const AttackText& text : texts) tokens.push_back(text.tokens.back());
  return tokens;
}

// Writes sequences to their length; next(sequence, place, step) gives each token.
template <class F>
Result<std::vector<AttackText>> write(SideBySide& full, const TokenDraw& draw, int32_t tokens, Progress& progress,
                                      F&& next) {
  std::vector<AttackText> texts = first_tokens(draw, full.sequences());
  FATHOM_TRY(full.begin());
  for (int32_t place = 1; place < tokens; ++place) {
    FATHOM_TRY(const SideStep step, full.step(last_tokens(texts), Policy()));
    for (int32_t s = 0; s < full.sequences(); ++s) texts[size_t(s)].tokens.push_back(next(s, place, step));
    FATHOM_TRY(progress.at(double(place) / tokens));
  }
  return texts;
}

// The search at one place: what each candidate is worth.
class Trial {
 public:
  Trial(SideBySide& full, SideBySide& tried, const Policy& policy)
      : full_(full), tried_(tried), policy_(policy), n_layers_(float(full.session().model().config().n_layers)) {}

  /// Sure of early answers that full depth does not share: of each sequence's token.
  Result<std::vector<double>> worth(std::span<const int32_t> tokens) {
    FATHOM_TRY(const SideStep truth, full_.step(tokens, Policy()));
    FATHOM_TRY(const SideStep said, tried_.step(tokens, policy_));
    std::vector<double> out;
    for (size_t s = 0; s < tokens.size(); ++s) {
      const LogitStats& stats = said.stats[s];
      const bool early = said.rows[s].depth < n_layers_;
      const double confidence = early ? probability(said.logits[int64_t(s)].flat(), stats, stats.argmax) : 0;
      const bool wrong = stats.argmax != truth.stats[s].argmax;
      const double shared = probability(truth.logits[int64_t(s)].flat(), truth.stats[s], stats.argmax);
      out.push_back(confidence * (wrong ? 1 : kNearlyWrong * (1 - shared)));
    }
    FATHOM_TRY(full_.back());
    FATHOM_TRY(tried_.back());
    return out;
  }

 private:
  SideBySide &full_, &tried_;
  const Policy& policy_;
  float n_layers_;
};

}  // namespace

TokenDraw::TokenDraw(const Model& model, uint64_t seed) : seed_(seed) {
  const Tokenizer& tokenizer = model.tokenizer();
  for (int32_t id = 0; id < model.config().vocab; ++id) {
    const bool text = id < tokenizer.vocab() && tokenizer.kind(id) == TokenKind::normal && !tokenizer.piece(id).empty();
    (text ? text_ : other_).push_back(id);
  }
}

std::vector<int32_t> TokenDraw::behind(std::span<const float> logits, int32_t sequence, int32_t place, int32_t n) {
  scratch_.assign(logits.begin(), logits.end());
  for (const int32_t id : other_) scratch_[size_t(id)] = -INFINITY;
  std::vector<int32_t> drawn(kLikeliest);
  drawn.resize(size_t(largest(scratch_, drawn)));
  const NoiseKey key = noise_key(seed_, sequence, place);
  const auto noisy = [&](int32_t id) { return double(scratch_[size_t(id)]) + gumbel_noise(key, id); };
  std::sort(drawn.begin(), drawn.end(), [&](int32_t a, int32_t b) {
    const double x = noisy(a), y = noisy(b);
    return x != y ? x > y : a < b;
  });
  drawn.resize(std::min(drawn.size(), size_t(n)));
  return drawn;
}

int32_t TokenDraw::any(int32_t sequence) const {
  Random random(seed_ ^ mix_bits(uint64_t(sequence) + 1));
  return text_.empty() ? 0 : text_[random.below(text_.size())];
}

Result<std::vector<AttackText>> own_writing(SideBySide& full, TokenDraw& draw, int32_t tokens, Progress& progress) {
  return write(full, draw, tokens, progress, [&](int32_t s, int32_t place, const SideStep& step) {
    return draw.behind(step.logits[s].flat(), s, place, 1).front();
  });
}

Result<std::vector<AttackText>> wrong_prefixes(SideBySide& full, TokenDraw& draw, int32_t tokens, Progress& progress) {
  std::vector<int32_t> last_wrong(size_t(full.sequences()), 0), first_wrong(size_t(full.sequences()), tokens - 1);
  FATHOM_TRY(std::vector<AttackText> texts,
             write(full, draw, tokens, progress, [&](int32_t s, int32_t place, const SideStep& step) {
               const auto logits = step.logits[s].flat();
               const LogitStats& stats = step.stats[size_t(s)];
               const std::vector<int32_t> drawn = draw.behind(logits, s, place, 2);
               int32_t& last = last_wrong[size_t(s)];
               const bool sure = probability(logits, stats, stats.argmax) >= kSure;
               if (!sure || place - last < kBetweenWrong || drawn.size() < 2) return drawn.front();
               last = place;
               first_wrong[size_t(s)] = std::min(first_wrong[size_t(s)], place);
               return drawn[drawn[0] == stats.argmax ? 1 : 0];
             }));
  for (size_t s = 0; s < texts.size(); ++s) texts[s].trap = first_wrong[s];
  return texts;
}

Result<std::vector<AttackText>> search_errors(SideBySide& full, SideBySide& tried, TokenDraw& draw,
                                              const Policy& policy, const AttackOptions& options, Progress& progress) {
  std::vector<AttackText> texts = first_tokens(draw, full.sequences());
  const size_t n = texts.size();
  Trial trial(full, tried, policy);
  FATHOM_TRY(full.begin());
  FATHOM_TRY(tried.begin());
  for (int32_t place = 1; place < options.tokens; ++place) {
    const std::vector<int32_t> last = last_tokens(texts);
    FATHOM_TRY(tried.step(last, policy));
    FATHOM_TRY(const SideStep step, full.step(last, Policy()));
    std::vector<std::vector<int32_t>> candidates(n);
    for (size_t s = 0; s < n; ++s) {
      candidates[s] = draw.behind(step.logits[int64_t(s)].flat(), int32_t(s), place, options.candidates);
    }
    std::vector<int32_t> tokens(n), best(n);
    std::vector<double> most(n, -1);
    for (size_t c = 0; c < size_t(options.candidates); ++c) {
      for (size_t s = 0; s < n; ++s) tokens[s] = candidates[s][std::min(c, candidates[s].size() - 1)];
      FATHOM_TRY(const std::vector<double> worth, trial.worth(tokens));
      for (size_t s = 0; s < n; ++s) {
        if (worth[s] > most[s]) most[s] = worth[s], best[s] = tokens[s];
      }
    }
    for (size_t s = 0; s < n; ++s) texts[s].tokens.push_back(best[s]);
    FATHOM_TRY(progress.at(double(place) / options.tokens));
  }
  return texts;
}

}  // namespace fathom
