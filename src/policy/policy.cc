// Policy: owned, type-erased stages; those read from text are decided here, typed ones in their own table.
// Next in the flow: engine/layer_loop.h.
#include "fathom/policy/policy.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "src/policy/stage_table.h"

namespace fathom {
namespace {

using policy_text::AnyStage;

/// Stages known at run time only; every function has its twin in pipeline.
struct TextPipeline {
  std::vector<AnyStage> stages;
};

const TextPipeline& as_text(const void* self) { return *static_cast<const TextPipeline*>(self); }

void decide(const void* self, const Step* steps, Decision* decisions, int32_t n) noexcept {
  int index = 0;
  for (const AnyStage& any : as_text(self).stages) {
    std::visit(
        [&](const auto& stage) {
          for (int32_t i = 0; i < n; ++i) decisions[i] = detail::take(stage, index, steps[i], decisions[i]);
        },
        any);
    ++index;
  }
  for (int32_t i = 0; i < n; ++i) decisions[i] = detail::settle_boundary(steps[i], decisions[i]);
}

SignalSet reads(const void* self, int32_t layer, int32_t n_layers, RowKind kind) noexcept {
  SignalSet set;
  for (const AnyStage& any : as_text(self).stages) {
    set = std::visit([&](const auto& stage) { return detail::read_on(stage, set, layer, n_layers, kind); }, any);
  }
  return detail::readable_at(layer, set);
}

Settings settings(const void* self) noexcept {
  Settings all;
  for (const AnyStage& any : as_text(self).stages) {
    std::visit(
        [&](const auto& stage) {
          if constexpr (Configures<std::remove_cvref_t<decltype(stage)>>) stage.apply(all);
        },
        any);
  }
  return all;
}

bool never_saves(const void* self) noexcept {
  for (const AnyStage& any : as_text(self).stages) {
    const bool never =
        std::visit([](const auto& stage) { return detail::never_saves<std::remove_cvref_t<decltype(stage)>>(); }, any);
    if (!never) return false;
  }
  return true;
}

bool sequential(const void* self) noexcept {
  for (const AnyStage& any : as_text(self).stages) {
    if (std::visit([](const auto& stage) { return detail::is_sequential(stage); }, any)) return true;
  }
  return false;
}

std::string text(const void* self) {
  std::string all;
  for (const AnyStage& any : as_text(self).stages) {
    all.append(all.empty() ? "" : " | ").append(std::visit([](const auto& stage) { return stage.text(); }, any));
  }
  return all.empty() ? "full_depth" : all;
}

Result<void> check(const void* self, int32_t n_layers) {
  for (const AnyStage& any : as_text(self).stages) {
    FATHOM_TRY(std::visit([&](const auto& stage) { return stage.check(n_layers); }, any));
  }
  return detail::check_together(policy_text::placed(as_text(self).stages));
}

constexpr PolicyTable kTextTable = {kPolicyTableVersion, decide, reads, settings, never_saves, sequential, text, check};

}  // namespace

namespace detail {

Result<void> check_place(std::span<const Placed> before, const Placed& stage) {
  for (const Placed& left : before) {
    if (left.sets.kv != KvMode::verify || stage.kind != StageKind::proposal) continue;
    return Error{ErrorCode::argument,
                 fmt::format("the proposal {} stands right of kv(verify), which verifies what stands "
                             "to its left: move {} there",
                             stage.name, stage.name)};
  }
  return {};
}

Result<void> check_together(std::span<const Placed> stages, size_t* index) {
  bool verifies = false, in_turn = false;
  for (size_t i = 0; i < stages.size(); ++i) {
    FATHOM_TRY(check_place(stages.first(i), stages[i]));
    verifies |= stages[i].sets.kv == KvMode::verify;
    in_turn |= stages[i].sets.settle_in_turn;
  }
  for (size_t i = 0; i < stages.size() && in_turn; ++i) {
    if (std::string_view(stages[i].name) != kv::traits.name) continue;
    if (index != nullptr) *index = i;
    return Error{ErrorCode::argument, "kv beside settle_every, which says how cells come to be as well: keep one"};
  }
  const bool by_words =
      std::any_of(stages.begin(), stages.end(), [](const Placed& s) { return s.sets.exits_by_words; });
  for (size_t i = 0; i < stages.size() && by_words; ++i) {
    if (stages[i].kind != StageKind::limit) continue;
    if (index != nullptr) *index = i;
    return Error{ErrorCode::argument,
                 fmt::format("{} beside word_exit, whose texts run no layer that it could ask for: "
                             "keep one",
                             stages[i].name)};
  }
  for (size_t i = 0; i < stages.size() && !verifies; ++i) {
    if (!stages[i].sets.drafts()) continue;
    if (index != nullptr) *index = i;
    return Error{ErrorCode::argument,
                 fmt::format("{} drafts tokens that nothing confirms: add | kv(verify)", stages[i].name)};
  }
  return {};
}

}  // namespace detail

Policy::Policy() : Policy(full_depth{}) {}

Policy::Policy(std::shared_ptr<const void> self, const PolicyTable* table) : self_(std::move(self)), table_(table) {
  const std::string written = text();
  hash_ = XXH3_64bits(written.data(), written.size());
}

Result<Policy> Policy::parse(std::string_view text) {
  FATHOM_TRY(std::vector<AnyStage> stages, policy_text::read_stages(text));
  return Policy(std::make_shared<const TextPipeline>(TextPipeline{std::move(stages)}), &kTextTable);
}

}  // namespace fathom
