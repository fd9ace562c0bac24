// The sampler: a row of logits becomes a token. token = argmax(logit / T + Gumbel noise) over what truncation leaves.
// Next in the flow: trace/trace.h, which records the token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"

namespace fathom {

/// Added to one token's logit; -infinity forbids the token.
struct LogitBias {
  int32_t token = 0;
  float bias = 0;
};

/// How a token is chosen. Applied in this order: bias, penalties, / temperature, top_k, top_p, min_p, noise.
struct SampleOptions {
  float temperature = 0;  // 0: greedy, no noise
  int32_t top_k = 0;      // keep the k largest; 0: all
  float top_p = 1;        // keep the fewest largest whose probabilities reach p; 1: all
  float min_p = 0;        // keep those with at least min_p times the largest probability; 0: all
  uint64_t seed = 0;
  float repeat_penalty = 1;     // of tokens seen: positive logits are divided by it, others multiplied
  float presence_penalty = 0;   // subtracted once from tokens seen
  float frequency_penalty = 0;  // subtracted for each time a token was seen
  int32_t penalty_last = 64;    // how many of the latest tokens count as seen; -1: all, 0: none
  std::vector<LogitBias> bias = {};
};

/// Whether the options make sense for a vocabulary.
///   errors   argument: the option, its value and its range
FATHOM_API Result<void> check(const SampleOptions& options, int32_t vocab);

/// A row of logits: of all tokens, or of those of a list; the others then count as -infinity.
struct LogitRow {
  std::span<const float> logits;
  std::span<const int32_t> tokens = {};  // [logits] whose each is, each token once; empty: token i is logits[i]
};

/// Chooses a token. The result depends on nothing but the arguments: not on batch, threads or earlier calls.
///   row                 NaN counts as -infinity
///   options             as check() accepts them
///   sequence            the caller's number of the sequence
///   position            the position the chosen token will have
///   history             tokens before `position`, for the penalties; ids outside the vocabulary are not looked at
///   returns             the token, ties to the lower id; -1 when every logit is NaN or -infinity
///   cost                two passes over the logits; logarithms only where the noise can win (noise_bound), and sorting
///                       only of what top_k and top_p keep
FATHOM_API int32_t sample(const LogitRow& row, const SampleOptions& options, int64_t sequence, int64_t position,
                          std::span<const int32_t> history = {});
inline int32_t sample(std::span<const float> logits, const SampleOptions& options, int64_t sequence, int64_t position,
                      std::span<const int32_t> history = {}) {
  return sample(LogitRow{logits}, options, sequence, position, history);
}

/// The tokens that bias, penalties and truncation leave at temperature > 0, best first, ties by id.
/// What sample() draws from; for tests, and for those who want to look.
FATHOM_API std::vector<int32_t> survivors(std::span<const float> logits, const SampleOptions& options,
                                          std::span<const int32_t> history = {});

/// The tokens of the n largest logits of a row, in no order; NaN never counts.
///   dst      room for n
///   returns  how many there are: n, or fewer where fewer are above -infinity
///   cost     one pass, and one over the maxima of blocks of 64
FATHOM_API int32_t largest(std::span<const float> logits, std::span<int32_t> dst);

}  // namespace fathom
