// WordHead: labels from the words of a text alone, depth 0: hashed n-grams of tokens, weighted by how rare they are.
// Next in the flow: classify/label_heads.h, the depths above.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/macros.h"

namespace fathom {

/// One number of a sparse row.
struct SparseTerm {
  int32_t feature = 0;
  float value = 0;
};

/// Which n-grams count, and how much: one and two tokens in a row, each hashed to a bucket, of which the commonest are
/// features.
struct WordFeatures {
  static constexpr int32_t kBuckets = 1 << 18;

  std::vector<int32_t> buckets;  // [features] rising, each below kBuckets
  std::vector<float> rarity;     // [features] log((1 + n) / (1 + texts that have it)) + 1

  /// What of texts is worth counting: the `most` n-grams that the most texts have, and at least two.
  ///   texts    ids of each, without those around it
  FATHOM_API static WordFeatures of(std::span<const std::vector<int32_t>> texts, size_t most);

  /// (1 + log count) rarity of each feature of a text, over the row's length; rising features.
  ///   cost     about 40 ns a token
  ///   source   Salton, Buckley 1988 (weights); Weinberger et al. 2009 (hashing)
  FATHOM_API std::vector<SparseTerm> operator()(std::span<const int32_t> ids) const;

  bool operator==(const WordFeatures&) const = default;
};

}  // namespace fathom
