// must say: ProposalsStandLeftOfLimits
// The same when both sides are pipes, with something harmless between the limit and the proposal.
#include "fathom/policy/policy.h"

using namespace fathom;

constexpr auto limited = exit_at{.layer = 8} | min_depth{.layers = 6};
constexpr auto saving = kv{} | exit_when{.confidence_at_least = 0.9f};
#ifdef CONTROL
[[maybe_unused]] constexpr auto policy = saving | limited;
#else
[[maybe_unused]] constexpr auto policy = limited | full_depth{} | saving;
#endif
