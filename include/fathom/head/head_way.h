// How the LM head came to a row's logits; results and traces say it. Next in the flow: head/hot_head.h.
#pragma once

#include <cstdint>
#include <string_view>

#include "fathom/core/macros.h"

namespace fathom {

enum class HeadWay : uint8_t {
  none,       ///< the row predicted nothing
  whole,      ///< all of it
  shortlist,  ///< a few tokens, for a guess
  screened,   ///< only what bounds could not rule out; the choice is that of all logits

  // All of it after screening was asked for:
  whole_all_logits,   ///< nobody said what the logits are for
  whole_top_p,        ///< top_p without top_k: the kept set hangs on every logit
  whole_temperature,  ///< so high that noise times it leaves the range of bounds
  whole_not_finite,   ///< activations with a NaN or an infinity
  whole_survivors,    ///< bounds ruled out too little
};
inline constexpr int kHeadWays = 9;
FATHOM_API std::string_view name(HeadWay way);

}  // namespace fathom
