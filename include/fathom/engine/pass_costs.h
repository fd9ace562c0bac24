// PassCosts: what passes cost by their rows before one was timed. Next in the flow: engine/draft.h, which chooses by
// it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fathom {

/// Costs of passes in units of a pass of one row at full depth. The numbers it begins with are those of a machine with
/// eight-bit dot products and a model that is mostly head; Session::pass_costs() measures those at hand.
struct PassCosts {
  static constexpr std::array<int32_t, 5> kRows = {1, 2, 4, 8, 16};

  std::array<double, 5> confirm = {1, 1.03, 1.1, 1.5, 2.6};    // of so many rows at full depth
  std::array<double, 5> settle = {.7, .721, .77, 1.05, 1.82};  // of so many rows that settle
  double own = 0.3;                                            // of a row drafted under savings
  bool own_measured = false;                                   // settle and own were measured too

  /// A cost between the rows of the table, and by its last slope beyond them.
  static constexpr double at(const std::array<double, 5>& costs, int32_t rows) {
    std::size_t i = 1;
    while (i + 1 < kRows.size() && rows > kRows[i]) ++i;
    const double share = double(rows - kRows[i - 1]) / (kRows[i] - kRows[i - 1]);
    return costs[i - 1] + (costs[i] - costs[i - 1]) * (rows < 1 ? 0 : share);
  }
};

}  // namespace fathom
