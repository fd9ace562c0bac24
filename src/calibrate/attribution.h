// Attribution: what a policy says at each place of a text, and where its rows looked, layer by layer, in the words of
// attention's shares. A hint at what a decision rested on and no proof: values are not in it, nor what the layers
// between made of them.
// Next in the flow: src/calibrate/exit_findings.h.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "src/calibrate/piece_runner.h"

namespace fathom {

/// One row in one layer: tokens of the text (by place) and their share of its attention, mean over heads; the largest
/// first. What it gave to the text's lead is not among them.
struct Looked {
  int32_t layer = 0;
  std::vector<std::pair<int32_t, float>> to;
};
inline constexpr size_t kMostLooked = 6;

struct Attribution {
  std::vector<std::vector<Looked>> rows;  // [places][layers that attended]
  std::vector<int32_t> said;              // [places] tokens
};

/// Runs a text under a policy, with its own cache, and writes down what it says and where attention went.
///   cost     a pass over the text, and its scores a second time, by the kernel for listed rows
Result<Attribution> attribute(PieceRunner& runner, const PieceText& text, const Policy& policy);

/// Of the layers that a row ran, the three to show: a quarter of the way to the one it was decided at, half of it, and
/// that one; fewer where they are one.
///   depth    layers behind the row where it was decided
std::vector<Looked> at_three_depths(const std::vector<Looked>& row, float depth);

}  // namespace fathom
