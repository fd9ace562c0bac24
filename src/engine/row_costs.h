// RowCosts: seconds that a model's products take by rows, timed on its own weights. Next in the flow: row_costs.cc.
#pragma once

#include <array>
#include <cstdint>

#include "fathom/engine/layer_loop.h"
#include "fathom/engine/pass_costs.h"

namespace fathom {

/// Seconds of all layers' products and of the whole head's, by rows.
struct RowCosts {
  std::array<double, PassCosts::kRows.size()> layers{}, head{};

  /// Times a few layers and slices of the head, each once, since what was just read is still in the caches: the fastest
  /// of three for 1, 4 and 8 rows. What lies between and beyond follows from them.
  ///   cost     about the time of one pass; the buffers of a step are overwritten
  static RowCosts measure(LayerLoop& loop, int64_t max_rows);

  /// What passes under a policy cost.
  ///   hot_tokens   of the shortlist that rows under savings answer from, where it is all that they save; 0: other
  ///                savings, of which nothing is known
  PassCosts passes(int64_t hot_tokens, int64_t vocab) const;
};

}  // namespace fathom
