// must say: Composable
// Stages are called for every row at every boundary from noexcept code: a stage that may throw is not one.
#include "fathom/policy/policy.h"

using namespace fathom;

struct hesitant {
  static constexpr StageTraits traits{"hesitant", StageKind::proposal};
#ifdef CONTROL
  Decision operator()(const Step&, Decision decision) const noexcept { return decision; }
#else
  Decision operator()(const Step&, Decision decision) const { return decision; }
#endif
};

[[maybe_unused]] const auto policy = hesitant{} | min_depth{.layers = 6};
