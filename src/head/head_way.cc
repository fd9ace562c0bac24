// The words for head ways. Next in the flow: hot_head.cc.
#include "fathom/head/head_way.h"

#include <iterator>

namespace fathom {

std::string_view name(HeadWay way) {
  constexpr std::string_view kNames[] = {"none",
                                         "whole",
                                         "shortlist",
                                         "screened",
                                         "whole: all logits",
                                         "whole: top_p",
                                         "whole: temperature",
                                         "whole: not finite",
                                         "whole: survivors"};
  static_assert(std::size(kNames) == kHeadWays);
  return kNames[static_cast<int>(way)];
}

}  // namespace fathom
