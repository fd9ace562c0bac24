// Counting n-grams and weighing them.
#include "fathom/classify/word_head.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace fathom {
namespace {

// A bucket of one token, or of two in a row: two rounds of a 64-bit mixer (Steele, Lea, Flood 2014).
int32_t bucket_of(int32_t first, int32_t second) {
  auto x = static_cast<uint64_t>(static_cast<uint32_t>(first)) << 32 | static_cast<uint32_t>(second);
  for (const uint64_t factor : {0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull}) {
    x ^= x >> 30;
    x *= factor;
  }
  return static_cast<int32_t>((x ^ x >> 31) % WordFeatures::kBuckets);
}

/// The buckets of a text and how often each is met, rising.
std::vector<std::pair<int32_t, int32_t>> counted(std::span<const int32_t> ids) {
  std::vector<int32_t> buckets;
  buckets.reserve(2 * ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    buckets.push_back(bucket_of(ids[i], -1));
    if (i > 0) buckets.push_back(bucket_of(ids[i - 1], ids[i]));
  }
  std::sort(buckets.begin(), buckets.end());
  std::vector<std::pair<int32_t, int32_t>> counts;
  for (const int32_t bucket : buckets) {
    if (counts.empty() || counts.back().first != bucket) counts.emplace_back(bucket, 0);
    ++counts.back().second;
  }
  return counts;
}

}  // namespace

WordFeatures WordFeatures::of(std::span<const std::vector<int32_t>> texts, size_t most) {
  std::vector<int32_t> n_texts(kBuckets, 0);
  for (const std::vector<int32_t>& ids : texts) {
    for (const auto& [bucket, count] : counted(ids)) ++n_texts[static_cast<size_t>(bucket)];
  }
  WordFeatures features;
  for (int32_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (n_texts[static_cast<size_t>(bucket)] >= 2) features.buckets.push_back(bucket);
  }
  const auto commoner = [&](int32_t a, int32_t b) {
    const int32_t of_a = n_texts[static_cast<size_t>(a)], of_b = n_texts[static_cast<size_t>(b)];
    return of_a != of_b ? of_a > of_b : a < b;
  };
  if (features.buckets.size() > most) {
    std::sort(features.buckets.begin(), features.buckets.end(), commoner);
    features.buckets.resize(most);
    std::sort(features.buckets.begin(), features.buckets.end());
  }
  const double n = 1 + static_cast<double>(texts.size());
  for (const int32_t bucket : features.buckets) {
    features.rarity.push_back(static_cast<float>(std::log(n / (1 + n_texts[static_cast<size_t>(bucket)])) + 1));
  }
  return features;
}

std::vector<SparseTerm> WordFeatures::operator()(std::span<const int32_t> ids) const {
  std::vector<SparseTerm> row;
  double square = 0;
  auto at = buckets.begin();
  for (const auto& [bucket, count] : counted(ids)) {
    at = std::lower_bound(at, buckets.end(), bucket);
    if (at == buckets.end()) break;
    if (*at != bucket) continue;
    const auto feature = static_cast<int32_t>(at - buckets.begin());
    const auto value = static_cast<float>(1 + std::log(count)) * rarity[static_cast<size_t>(feature)];
    row.push_back({feature, value});
    square += static_cast<double>(value) * value;
  }
  const auto scale = square > 0 ? static_cast<float>(1 / std::sqrt(square)) : 0.0f;
  for (SparseTerm& term : row) term.value *= scale;
  return row;
}

}  // namespace fathom
