// Bias, penalties, truncation and the noisy argmax over a vocabulary, without sorting it.
#include "fathom/sample/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "fathom/sample/noise.h"
#include "src/sample/adjustments.h"
#include "src/sample/blocks.h"

namespace fathom {
namespace {

// The first token with the largest logit.
int32_t argmax(const Blocks& blocks) {
  if (blocks.max == kNone) return -1;
  const size_t b = std::find(blocks.maxima.begin(), blocks.maxima.end(), blocks.max) - blocks.maxima.begin();
  const auto row = blocks.logits.subspan(b * kBlock);
  const size_t first = b * kBlock + static_cast<size_t>(std::find(row.begin(), row.end(), blocks.max) - row.begin());
  int32_t token = blocks.token(first);
  for (size_t i = first + 1; !blocks.tokens.empty() && i < blocks.logits.size(); ++i) {
    if (blocks.logits[i] == blocks.max) token = std::min(token, blocks.tokens[i]);
  }
  return token;
}

// exp(x) for x <= 0, relative error below 2e-7; below -87 it stays at exp(-87). Cody and Waite's reduction, then a
// polynomial of degree 6 on [-log(2)/2, log(2)/2]. In this form compilers run it in vector lanes; std::exp they do not.
float exp_of_negative(float x) {
  x = x > -87.0f ? x : -87.0f;
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // round to nearest
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

// How the mass exp((logit - max) / T) lies below the maximum: by quarters of (max - logit) / T. What lies 64 and more
// below, exp(-64) of the largest for each token, is left out.
struct Histogram {
  static constexpr int kQuarters = 4 * 64;
  double mass[kQuarters] = {};
  double total = 0;

  Histogram(const Blocks& blocks, float temperature) {
    float space[kBlock], down[kBlock], e[kBlock];
    for (size_t b = 0; b < blocks.maxima.size(); ++b) {
      if (!((blocks.max - blocks.maxima[b]) / temperature < 64.0f)) continue;
      const float* row = blocks.block(b, space);
      for (int i = 0; i < kBlock; ++i) down[i] = (blocks.max - row[i]) / temperature;
      for (int i = 0; i < kBlock; ++i) e[i] = exp_of_negative(-down[i]);
      for (int i = 0; i < kBlock; ++i) {
        if (down[i] < 64.0f) mass[static_cast<int>(4 * down[i])] += e[i];
      }
    }
    for (double m : mass) total += m;
  }

  // How far below the maximum, in units of T, the mass reaches `share` of the total; one quarter more for rounding.
  float down_to(double share) const {
    double sum = 0;
    int quarter = 0;
    while (quarter < kQuarters && (sum += mass[quarter]) < share * total) ++quarter;
    return 0.25f * static_cast<float>(quarter + 2);
  }
};

double mass_of(Candidate c, float max, float temperature) {
  return std::exp((static_cast<double>(c.logit) - max) / temperature);
}

// The k best of the vocabulary. The k-th largest block maximum bounds the k-th largest logit from below, which leaves
// little more than k candidates to select from.
std::vector<Candidate> keep_top_k(const Blocks& blocks, size_t k) {
  float least = kNone;
  if (k <= blocks.maxima.size()) {
    std::vector<float> maxima = blocks.maxima;
    std::nth_element(maxima.begin(), maxima.begin() + (k - 1), maxima.end(), std::greater<float>());
    least = maxima[k - 1];
  }
  std::vector<Candidate> kept = blocks.at_least(least);
  if (kept.size() > k) {
    std::nth_element(kept.begin(), kept.begin() + (k - 1), kept.end(), better);
    kept.resize(k);
  }
  std::sort(kept.begin(), kept.end(), better);
  return kept;
}

// Cuts a sorted list after the candidate whose probability brings the sum to top_p of `mass`.
void cut_top_p(std::vector<Candidate>& sorted, double mass, const SampleOptions& options) {
  double sum = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    sum += mass_of(sorted[i], sorted[0].logit, options.temperature);
    if (sum >= options.top_p * mass) return sorted.resize(i + 1);
  }
}

// The same from the whole vocabulary, of which only what may be kept is sorted.
std::vector<Candidate> keep_top_p(const Blocks& blocks, const SampleOptions& options) {
  const Histogram histogram(blocks, options.temperature);
  std::vector<Candidate> kept = blocks.at_least(blocks.max - histogram.down_to(options.top_p) * options.temperature);
  std::sort(kept.begin(), kept.end(), better);
  cut_top_p(kept, histogram.total, options);
  return kept;
}

// What truncation leaves, best first.
std::vector<Candidate> truncate(const Blocks& blocks, const SampleOptions& options) {
  const float lowest = lowest_kept(blocks.max, options);
  std::vector<Candidate> kept;
  if (keeps_top_k(options, blocks.logits.size())) {
    kept = keep_top_k(blocks, options.top_k);
    double mass = 0;
    for (Candidate c : kept) mass += mass_of(c, blocks.max, options.temperature);
    if (options.top_p < 1) cut_top_p(kept, mass, options);
  } else if (options.top_p < 1) {
    kept = keep_top_p(blocks, options);
  } else {
    kept = blocks.at_least(options.min_p > 0 ? lowest : kNone);
    std::sort(kept.begin(), kept.end(), better);
  }
  if (options.min_p > 0) std::erase_if(kept, [&](Candidate c) { return c.logit < lowest; });
  return kept;
}

// The running winner of argmax(logit / T + noise). In double precision a temperature of any size overflows nothing.
struct Winner {
  NoiseKey key;
  double temperature;
  double score = -std::numeric_limits<double>::infinity();
  int32_t token = -1;

  void offer(float logit, int32_t id) {
    const double s = logit / temperature + gumbel_noise(key, id);
    if (s > score || (s == score && id < token)) {
      score = s;
      token = id;
    }
  }
};

// The noisy argmax over the whole vocabulary. The largest logit is scored first; after it, only a token whose logit
// plus T times a cheap bound of its noise reaches the best score can win, and only such tokens pay for logarithms.
int32_t noisy_argmax(const Blocks& blocks, NoiseKey key, float temperature) {
  Winner winner{key, temperature};
  winner.offer(blocks.max, argmax(blocks));
  const auto reach = static_cast<float>(kNoiseMax * temperature);
  // Rounding of the bound: float sums and products of numbers up to |max| + reach.
  const float slack = 1e-5f * (std::fabs(blocks.max) + reach);
  float space[kBlock];
  int32_t token_space[kBlock];
  for (size_t b = 0; b < blocks.maxima.size(); ++b) {
    const float least = static_cast<float>(winner.score * temperature) - slack;
    if (blocks.maxima[b] + reach < least) continue;
    const float* row = blocks.block(b, space);
    const int32_t* tokens = blocks.tokens_of(b, token_space);
    float bound[kBlock];
    int32_t possible = 0;
    for (int i = 0; i < kBlock; ++i) bound[i] = row[i] + temperature * noise_bound(noise_bits(key, tokens[i]));
    for (int i = 0; i < kBlock; ++i) possible |= !(bound[i] < least);
    for (int i = 0; possible != 0 && i < kBlock; ++i) {
      if (!(bound[i] < least)) winner.offer(row[i], tokens[i]);  // a NaN gets here, and its score wins nothing
    }
  }
  return winner.token;
}

// Where a token's logit stands in a row; null: not there. Rows of a list are searched by a table of (token, place).
class Places {
 public:
  Places(const LogitRow& row, std::vector<float>& store) : store_(store) {
    for (size_t i = 0; i < row.tokens.size(); ++i) listed_.push_back({row.tokens[i], i});
    std::sort(listed_.begin(), listed_.end());
    all_ = row.tokens.empty();
  }
  float* find(int32_t token) {
    if (all_)
      return token >= 0 && static_cast<size_t>(token) < store_.size() ? &store_[static_cast<size_t>(token)] : nullptr;
    const auto at = std::lower_bound(listed_.begin(), listed_.end(), std::pair(token, size_t{0}));
    return at != listed_.end() && at->first == token ? &store_[at->second] : nullptr;
  }

 private:
  std::vector<float>& store_;
  std::vector<std::pair<int32_t, size_t>> listed_;
  bool all_;
};

// The row after bias and penalties, in `store` when anything changes.
LogitRow adjusted(const LogitRow& row, const SampleOptions& options, std::span<const int32_t> history,
                  std::vector<float>& store) {
  Adjustments adjustments;
  const bool whole = row.tokens.empty();
  adjustments.collect(options, history, whole ? std::ssize(row.logits) : std::numeric_limits<int32_t>::max());
  if (adjustments.empty()) return row;
  store.assign(row.logits.begin(), row.logits.end());
  Places places(row, store);
  std::vector<float*> at;
  std::vector<float> changed;
  for (const int32_t token : adjustments.tokens()) {
    at.push_back(places.find(token));
    changed.push_back(at.back() != nullptr ? *at.back() : kNone);
  }
  adjustments.apply(changed);
  for (size_t i = 0; i < at.size(); ++i) {
    if (at[i] != nullptr) *at[i] = changed[i];
  }
  return {store, row.tokens};
}

Error out_of_range(const char* option, double value, const char* range) {
  return {ErrorCode::argument, fmt::format("{} {}: give {}", option, value, range)};
}

}  // namespace

Result<void> check(const SampleOptions& o, int32_t vocab) {
  if (!(o.temperature >= 0) || std::isinf(o.temperature)) {
    return out_of_range("temperature", o.temperature, "a finite number from 0 (greedy) up");
  }
  if (o.top_k < 0) return out_of_range("top_k", o.top_k, "0 (all) or a positive count");
  if (!(o.top_p > 0 && o.top_p <= 1)) return out_of_range("top_p", o.top_p, "a number above 0 and up to 1 (all)");
  if (!(o.min_p >= 0 && o.min_p <= 1)) return out_of_range("min_p", o.min_p, "a number from 0 (all) to 1");
  if (!(o.repeat_penalty > 0) || std::isinf(o.repeat_penalty)) {
    return out_of_range("repeat_penalty", o.repeat_penalty, "a finite number above 0 (1: none)");
  }
  if (!std::isfinite(o.presence_penalty))
    return out_of_range("presence_penalty", o.presence_penalty, "a finite number");
  if (!std::isfinite(o.frequency_penalty)) {
    return out_of_range("frequency_penalty", o.frequency_penalty, "a finite number");
  }
  if (o.penalty_last < -1) return out_of_range("penalty_last", o.penalty_last, "-1 (all), 0 (none) or a count");
  for (const LogitBias& b : o.bias) {
    if (b.token < 0 || b.token >= vocab) {
      return Error{ErrorCode::argument, fmt::format("bias token {} of a vocabulary of {}: give an id from 0 to {}",
                                                    b.token, vocab, vocab - 1)};
    }
    if (std::isnan(b.bias) || b.bias == std::numeric_limits<float>::infinity()) {
      return out_of_range("bias", b.bias, "a finite number, or -inf to forbid the token");
    }
  }
  return {};
}

int32_t sample(const LogitRow& row, const SampleOptions& options, int64_t sequence, int64_t position,
               std::span<const int32_t> history) {
  std::vector<float> store;
  const Blocks blocks(adjusted(row, options, history, store));
  if (options.temperature == 0 || std::isinf(blocks.max)) return argmax(blocks);
  const NoiseKey key = noise_key(options.seed, sequence, position);
  if (!truncates(options, row.logits.size())) return noisy_argmax(blocks, key, options.temperature);
  Winner winner{key, options.temperature};
  for (Candidate c : truncate(blocks, options)) winner.offer(c.logit, c.token);
  return winner.token;
}

std::vector<int32_t> survivors(std::span<const float> logits, const SampleOptions& options,
                               std::span<const int32_t> history) {
  std::vector<float> store;
  const Blocks blocks(adjusted({logits}, options, history, store));
  std::vector<int32_t> ids;
  if (blocks.max == kNone) return ids;
  for (Candidate c : truncate(blocks, options)) ids.push_back(c.token);
  return ids;
}

}  // namespace fathom
