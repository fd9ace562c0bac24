// A row of logits in blocks of 64 with their maxima, so that later passes read only what matters. A row may hold all
// tokens of the vocabulary, or those of a list. Next in the flow: sampler.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "fathom/sample/sampler.h"

namespace fathom {

inline constexpr float kNone = -std::numeric_limits<float>::infinity();
inline constexpr int kBlock = 64;  // logits that share one maximum
inline constexpr int kLanes = 16;  // independent running values of a pass, for the compiler's vector lanes

struct Candidate {
  float logit;
  int32_t token;
};

inline bool better(Candidate a, Candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.token < b.token); }

// Logits in blocks of 64 with the maximum of each, so that later passes read only blocks that matter.
struct Blocks {
  std::span<const float> logits;
  std::span<const int32_t> tokens;  // of each logit; empty: their places
  std::vector<float> maxima;        // [ceil(logits / 64)]; NaN never counts
  float max = kNone;

  explicit Blocks(const LogitRow& row)
      : logits(row.logits), tokens(row.tokens), maxima((row.logits.size() + kBlock - 1) / kBlock) {
    float space[kBlock];
    for (size_t b = 0; b < maxima.size(); ++b) {
      maxima[b] = max_of(block(b, space));
      max = std::max(max, maxima[b]);
    }
  }

  // The 64 logits of block b; the last block is filled up with -infinity in `space`.
  const float* block(size_t b, float* space) const {
    const size_t begin = b * kBlock;
    if (begin + kBlock <= logits.size()) return logits.data() + begin;
    std::fill_n(space, kBlock, kNone);
    std::copy(logits.begin() + begin, logits.end(), space);
    return space;
  }

  int32_t token(size_t i) const { return tokens.empty() ? static_cast<int32_t>(i) : tokens[i]; }

  // The tokens of block b, in `space` where they are places or the block is the last.
  const int32_t* tokens_of(size_t b, int32_t* space) const {
    const size_t begin = b * kBlock;
    if (!tokens.empty() && begin + kBlock <= tokens.size()) return tokens.data() + begin;
    for (int i = 0; i < kBlock; ++i) space[i] = static_cast<int32_t>(begin) + i;
    if (!tokens.empty()) std::copy(tokens.begin() + static_cast<std::ptrdiff_t>(begin), tokens.end(), space);
    return space;
  }

  static float max_of(const float* block) {
    float lanes[kLanes];
    std::fill_n(lanes, kLanes, kNone);
    for (int i = 0; i < kBlock; i += kLanes) {
      for (int j = 0; j < kLanes; ++j) lanes[j] = block[i + j] > lanes[j] ? block[i + j] : lanes[j];
    }
    return *std::max_element(lanes, lanes + kLanes);
  }

  // All candidates with logit >= `least`, -infinity excluded, in the order of the row.
  std::vector<Candidate> at_least(float least) const {
    std::vector<Candidate> kept;
    float space[kBlock];
    for (size_t b = 0; b < maxima.size(); ++b) {
      if (!(maxima[b] >= least) || maxima[b] == kNone) continue;
      const float* row = block(b, space);
      for (int i = 0; i < kBlock; ++i) {
        if (row[i] >= least && row[i] != kNone) kept.push_back({row[i], token(b * kBlock + static_cast<size_t>(i))});
      }
    }
    return kept;
  }
};

}  // namespace fathom
