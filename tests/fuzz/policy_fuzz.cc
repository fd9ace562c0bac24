// libFuzzer entry for policy text: what is read prints to canonical text that reads back equal; all else is refused.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fathom/policy/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto policy = fathom::Policy::parse({reinterpret_cast<const char*>(data), size});
  if (!policy) return policy.error().message.empty() ? __builtin_trap(), 0 : 0;
  const auto again = fathom::Policy::parse(policy->text());
  if (!again || !(*again == *policy) || again->text() != policy->text()) __builtin_trap();

  fathom::Step steps[3];
  fathom::Decision decisions[3];
  for (int i = 0; i < 3; ++i) {
    steps[i].n_layers = 12;
    steps[i].layer = 5 * i;
    for (float& signal : steps[i].signals) signal = 0.5f * static_cast<float>(i);
  }
  const fathom::PolicyRef ref = policy->ref();
  ref.table->decide(ref.self, steps, decisions, 3);
  if (exits(decisions[0].verdict)) __builtin_trap();  // no row leaves before the first layer
  return 0;
}
