// PolicyRef: the line between a user's policy and the engine; three words, no template. Policy: an owned value of it.
// Next in the flow: engine/layer_loop.h, which asks it once for each boundary.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "fathom/core/result.h"
#include "fathom/policy/stage.h"

namespace fathom {

inline constexpr uint32_t kPolicyTableVersion = 1;

/// How the engine calls a policy of any type.
struct PolicyTable {
  uint32_t version = kPolicyTableVersion;
  /// Decides all rows of one boundary; steps and decisions have n elements, decisions enter as {run, -1}.
  void (*decide)(const void* policy, const Step* steps, Decision* decisions, int32_t n) noexcept = nullptr;
  /// Signals the policy reads at a boundary for rows of a kind.
  SignalSet (*reads)(const void* policy, int32_t layer, int32_t n_layers, RowKind kind) noexcept = nullptr;
  Settings (*settings)(const void* policy) noexcept = nullptr;
  /// True when the policy never saves anything: the engine asks it nothing.
  bool (*full_depth)(const void* policy) noexcept = nullptr;
  /// True when some stage is sequential (budgets, last_entropy): the verbs then give it one row of a sequence a step.
  bool (*sequential)(const void* policy) noexcept = nullptr;
  std::string (*text)(const void* policy) = nullptr;
};

/// A borrowed policy.
struct PolicyRef {
  const void* self = nullptr;
  const PolicyTable* table = nullptr;
  uint64_t hash = 0;  // XXH3 of the text form
};

}  // namespace fathom
