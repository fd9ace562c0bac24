// Gumbel noise as a hash of (seed, sequence, position, token id): no generator state, so a seed gives the same text
// whatever the batch, the chunking or the speculation. Next in the flow: sample/sampler.h, which adds it to logits.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace fathom {

/// What (seed, sequence, position) become; one for each sampled row.
struct NoiseKey {
  uint32_t low = 0;
  uint32_t high = 0;
};

/// A bijection of 64-bit words without visible structure.
///   source   Steele, Lea, Flood 2014 (SplitMix), finaliser
constexpr uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// The key of the token that will stand at `position` of `sequence`.
constexpr NoiseKey noise_key(uint64_t seed, int64_t sequence, int64_t position) {
  uint64_t x = mix_bits(seed + 0x9e3779b97f4a7c15u);
  x = mix_bits(x ^ (static_cast<uint64_t>(sequence) + 0x9e3779b97f4a7c15u));
  x = mix_bits(x ^ (static_cast<uint64_t>(position) + 0x9e3779b97f4a7c15u));
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(x >> 32)};
}

/// 32 uniform bits for a token: two multiplications, so that a compiler can run it in vector lanes.
///   source   the constants of Wellons 2018 (a search for low-bias integer hashes), the key folded in twice
constexpr uint32_t noise_bits(NoiseKey key, int32_t token) {
  uint32_t h = static_cast<uint32_t>(token) + key.low;
  h = (h ^ (h >> 16)) * 0x7feb352du;
  h ^= key.high;
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  return h ^ (h >> 16);
}

// u = (bits + 1/2) / 2^32 keeps away from 0 and 1, so the noise is bounded. The missing upper tail has probability
// 2^-33.
inline constexpr double kNoiseMin = -3.1301;  // -log(33 log 2), rounded outwards
inline constexpr double kNoiseMax = 22.8739;  // 33 log 2, rounded outwards

/// -log(-log(u)): standard Gumbel.
inline double noise_from_bits(uint32_t bits) {
  const double u = (bits + 0.5) * 0x1p-32;
  return -std::log(-std::log(u));
}

inline double gumbel_noise(NoiseKey key, int32_t token) { return noise_from_bits(noise_bits(key, token)); }

/// Never below noise_from_bits(bits), without a logarithm; at most 0.09 above it for noise over 3.
/// -log(u) >= 1 - u =: w gives noise <= -log(w), and a float's bits read as a number bound log2(w) from below.
inline float noise_bound(uint32_t bits) {
  const auto above = static_cast<float>(static_cast<int32_t>(~bits >> 8));  // floor(w * 2^24), exact
  return 0.69314724f * (151.0f - static_cast<float>(std::bit_cast<int32_t>(above)) * 0x1p-23f) + 1e-4f;
}

}  // namespace fathom
