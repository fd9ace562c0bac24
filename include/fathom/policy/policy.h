// PolicyRef: the line between a user's policy and the engine; three words, no template. Policy: an owned value of it.
// Next in the flow: engine/layer_loop.h, which asks it once for each boundary.
#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/exit.h"
#include "fathom/policy/limit.h"
#include "fathom/policy/pipeline.h"
#include "fathom/policy/route.h"
#include "fathom/policy/setting.h"
#include "fathom/policy/silence.h"
#include "fathom/policy/skip.h"
#include "fathom/policy/stage.h"
#include "fathom/policy/tokens.h"

namespace fathom {

inline constexpr uint32_t kPolicyTableVersion = 2;

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
  /// True when some stage is sequential (budgets, last_entropy): a step then takes one generated row of a sequence.
  bool (*sequential)(const void* policy) noexcept = nullptr;
  std::string (*text)(const void* policy) = nullptr;
  /// Values against their ranges and against a model's number of layers.
  Result<void> (*check)(const void* policy, int32_t n_layers) = nullptr;
};

/// A borrowed policy.
struct PolicyRef {
  const void* self = nullptr;
  const PolicyTable* table = nullptr;
  uint64_t hash = 0;  // XXH3 of the text form
};

namespace detail {

/// The table of a pipeline type.
template <class P>
inline constexpr PolicyTable kTableOf = {
    .version = kPolicyTableVersion,
    .decide =
        [](const void* self, const Step* steps, Decision* decisions, int32_t n) noexcept {
          const P& policy = *static_cast<const P*>(self);
          for (int32_t i = 0; i < n; ++i) decisions[i] = policy(steps[i], decisions[i]);
        },
    .reads = [](const void* self, int32_t layer, int32_t n_layers,
                RowKind kind) noexcept { return static_cast<const P*>(self)->reads(layer, n_layers, kind); },
    .settings = [](const void* self) noexcept { return static_cast<const P*>(self)->settings(); },
    .full_depth = [](const void*) noexcept { return P::is_full_depth(); },
    .sequential = [](const void* self) noexcept { return static_cast<const P*>(self)->is_sequential(); },
    .text = [](const void* self) { return static_cast<const P*>(self)->text(); },
    .check = [](const void* self, int32_t n_layers) { return static_cast<const P*>(self)->check(n_layers); },
};

}  // namespace detail

/// A policy of any stages as one value; a copy costs a reference count. Equal when the text forms are equal.
class FATHOM_API Policy {
 public:
  /// Full depth.
  Policy();

  /// Any stage or pipe of stages. Values are not looked at here: check() does, and sessions call it.
  template <Composable P>
  Policy(const P& stages)
      : Policy(std::make_shared<const typename detail::as_pipeline<P>::type>(detail::as_pipeline<P>::make(stages)),
               &detail::kTableOf<typename detail::as_pipeline<P>::type>) {}

  /// Reads the text form, docs/policies.md.
  ///   errors   argument: what is wrong, its column counted from 1, and what to write
  ///   cost     linear in the text, which has at most 4096 characters and 64 stages
  static Result<Policy> parse(std::string_view text);

  /// The canonical text form; parse() of it gives an equal policy when every stage is built in.
  std::string text() const { return table_->text(self_.get()); }
  uint64_t hash() const noexcept { return hash_; }
  bool is_full_depth() const noexcept { return table_->full_depth(self_.get()); }
  bool is_sequential() const noexcept { return table_->sequential(self_.get()); }
  Settings settings() const noexcept { return table_->settings(self_.get()); }

  /// Whether every value lies in its range, and every layer in a model of `n_layers`.
  ///   errors   argument: the stage, the value, the range
  Result<void> check(int32_t n_layers) const { return table_->check(self_.get(), n_layers); }

  /// What the engine calls; lives as long as this Policy.
  PolicyRef ref() const noexcept { return {self_.get(), table_, hash_}; }

  friend bool operator==(const Policy& a, const Policy& b) { return a.hash_ == b.hash_ && a.text() == b.text(); }

 private:
  Policy(std::shared_ptr<const void> self, const PolicyTable* table);
  std::shared_ptr<const void> self_;
  const PolicyTable* table_;
  uint64_t hash_;
};

/// What the text form knows: each stage with its fields, ranges, defaults and meaning, for `--help` and docs.
FATHOM_API std::string stage_help();

}  // namespace fathom
