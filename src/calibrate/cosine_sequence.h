// Policies for embeddings as a fixed sequence: which have a chance, in what order, and how far they are certified.
// Next in the flow: embedding.cc, which runs them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/embedding.h"
#include "fathom/calibrate/selection.h"

namespace fathom {

using CosinesByGroup = std::vector<std::vector<float>>;  // [groups][texts]

struct CosineRule {
  double cosine = 0.98, risk = 0.02, confidence = 0.95;

  double delta() const { return 1 - confidence; }
  bool keeps(float c) const { return double{c} >= cosine; }  // a NaN does not
  int64_t below(std::span<const float> cosines) const;
};

/// Whether so many texts of a group are under the cosine that the share of all is surely above the risk.
bool without_chance(const CosinesByGroup& cosines, const CosineRule& rule);

/// Of trials that did not end early, save work, and would pass if texts to certify on were as those to choose by: an
/// order in which each is less safe than the one before and less work. What is neither safer nor less work than
/// another is left out.
///   n_certify  [groups]
///   returns    indices of trials, kMostTested at most
inline constexpr size_t kMostTested = 8;
std::vector<int32_t> safest_to_cheapest(std::span<const EmbeddingTrial> trials, std::span<const int64_t> n_certify,
                                        const CosineRule& rule);

/// Tests candidates until one fails: `run` gives the cosines of one, on texts that the order has not seen.
///   errors   those of `run` and certify_for_all()
Result<Choice> certify_in_order(const std::vector<std::string>& groups, int32_t candidates, const CosineRule& rule,
                                const std::function<Result<CosinesByGroup>(int32_t candidate)>& run);

}  // namespace fathom
