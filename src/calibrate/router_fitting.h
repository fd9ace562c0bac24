// Fitting routers: which rows need no more layers, told from the state. Next in the flow:
// src/calibrate/router_trials.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/head/routers.h"
#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// What an oracle says of some rows: behind each layer, whether the row needs no layer above, because the final norm
/// and the head would already give full depth's token.
struct RouterRows {
  std::vector<int32_t> layers;
  std::vector<int32_t> texts;               // [rows] index of the piece
  std::vector<int32_t> groups;              // [rows]
  std::vector<std::vector<float>> states;   // [layers][rows, d] over their root mean square
  std::vector<std::vector<uint8_t>> spare;  // [layers][rows] 1: needs no layer above

  size_t size() const { return texts.size(); }
};

/// Layers behind which routers are fitted: all of the upper three quarters but the last.
std::vector<int32_t> router_layers(int32_t n_layers);

/// As many rows as calibration has time and memory for, at most: a head for each layer, and the state.
int64_t most_router_rows(const ModelConfig& config, size_t n_layers);

/// Runs pieces at full depth and asks at spread_places(). The runner's session uses no exits afterwards.
///   errors   those of runs
///   cost     a pass over the pieces that are asked, and a head for each row and layer
Result<RouterRows> router_rows(PieceRunner& runner, std::span<const PieceText* const> texts, size_t n_groups,
                               std::span<const int32_t> layers, int64_t most, Progress& progress);

/// A logistic model of each layer's states on two pieces of three, and its map on those that are held_out().
///   rows     of the texts
///   errors   argument: a group with fewer than six pieces; those of fits
///   cost     a Newton fit of d features for each layer
Result<std::vector<FittedRouter>> fit_routers(const RouterRows& rows, std::span<const PieceText* const> texts,
                                              size_t n_groups, Progress& progress);

/// How well a router tells which rows need no layer above, in one group.
struct RouterQuality {
  int32_t layer = 0;
  int32_t group = 0;
  int64_t rows = 0;
  double spare = 0;  // share of the rows
  double auc = 0;    // of utility; NaN where all rows are alike
};
Result<std::vector<RouterQuality>> router_quality(std::span<const FittedRouter> routers, const RouterRows& rows,
                                                  size_t n_groups);

}  // namespace fathom
