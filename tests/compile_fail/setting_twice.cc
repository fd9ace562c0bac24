// must say: EachSettingIsGivenOnce
// One setting of a kind: which of two should hold is not guessed.
#include "fathom/policy/policy.h"

using namespace fathom;

#ifdef CONTROL
[[maybe_unused]] constexpr auto policy = kv{} | exit_at{.layer = 8};
#else
[[maybe_unused]] constexpr auto policy = kv{} | exit_at{.layer = 8} | kv{KvMode::fill};
#endif
