// The policies that are tried where none are given.
#include <algorithm>

#include "fathom/calibrate/embedding.h"

namespace fathom {

std::vector<Policy> embedding_ladder(int32_t n_layers) {
  std::vector<int32_t> depths = {1, n_layers / 3, 2 * n_layers / 3, n_layers - 1};
  std::erase_if(depths, [&](int32_t layer) { return layer < 1 || layer >= n_layers; });
  depths.erase(std::unique(depths.begin(), depths.end()), depths.end());
  std::vector<Policy> ladder = {fuse_tokens{}};
  for (const int32_t from : depths) {
    for (const float keep : {0.9f, 0.8f, 0.7f, 0.6f, 0.5f}) {
      ladder.emplace_back(merge_tokens{.keep = keep, .from_layer = from});
      if (from + 1 >= n_layers) continue;
      ladder.emplace_back(merge_tokens{.keep = keep, .from_layer = from, .schedule = Schedule::linear});
    }
    for (const float alike : {0.9f, 0.8f, 0.7f}) {
      ladder.emplace_back(merge_tokens{.keep = 0.5f, .from_layer = from, .alike_at_least = alike});
    }
    for (const float keep : {0.9f, 0.7f, 0.5f}) ladder.emplace_back(prune_tokens{.keep = keep, .from_layer = from});
  }
  if (n_layers > 1) ladder.emplace_back(exit_at{.layer = n_layers - 1});
  return ladder;
}

}  // namespace fathom
