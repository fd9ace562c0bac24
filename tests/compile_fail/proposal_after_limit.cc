// must say: ProposalsStandLeftOfLimits
// A limit has the last word, so a proposal does not stand to its right.
#include "fathom/policy/policy.h"

using namespace fathom;

#ifdef CONTROL
[[maybe_unused]] constexpr auto policy = exit_at{.layer = 8} | min_depth{.layers = 6};
#else
[[maybe_unused]] constexpr auto policy = min_depth{.layers = 6} | exit_at{.layer = 8};
#endif
