// The table of built-in stages: each is described once, and parsing, printing, checking and help read the description.
// Next in the flow: text.cc (printing and checking), then parse.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fathom/policy/policy.h"

namespace fathom::policy_text {

/// Any built-in stage; the index of an alternative is its row in the table.
using AnyStage =
    std::variant<exit_at, exit_when, patience, skip_layers, skip_sublayers, skip_when, route, silence_heads, min_depth,
                 max_depth, budget, full_depth_first, full_depth_at, full_depth_after, kv, settle_every, draft_ngram,
                 defer_head, screen_head, screen_checks, word_exit, prune_tokens, merge_tokens, fuse_tokens, max_loss>;

/// What a field holds: int32_t, int32_t up to the model's layers, float, optional<float>, LayerSet, HeadSet, a
/// ShareList, an enum of a byte, a Signal or none.
enum class FieldType : uint8_t { count, layer, number, condition, layers, heads, shares, word, signal };

struct Field {
  const char* name;
  FieldType type;
  bool required;
  double low, high;                         // of numbers, both included; a layer's `high` is the model's last
  std::span<const std::string_view> words;  // of enums, in the order of their values
  void* (*at)(void* stage);
  const char* doc;
};

struct StageInfo {
  std::string_view name;
  StageKind kind;
  const char* doc;
  std::span<const Field> fields;
  size_t one_of_first;  // at least one of the first so many fields must be named; 0: no such rule
  const void* defaults;
  std::string (*unfit)(const void* stage);  // what is wrong with fields beside one another, or nothing; may be null
  bool once;                                // it configures: a policy has one of it
};

std::span<const StageInfo> stage_table();

inline const StageInfo& info_of(const AnyStage& stage) { return stage_table()[stage.index()]; }
/// What the rules between stages look at.
inline std::vector<detail::Placed> placed(std::span<const AnyStage> stages) {
  std::vector<detail::Placed> all;
  for (const AnyStage& any : stages) {
    all.push_back(std::visit([](const auto& stage) { return detail::placed(stage); }, any));
  }
  return all;
}
/// A stage of the table's row `index`, all fields at their defaults.
AnyStage make_stage(size_t index);
inline void* address_of(AnyStage& stage) {
  return std::visit([](auto& s) -> void* { return &s; }, stage);
}

inline const void* value_of(const Field& field, const void* stage) { return field.at(const_cast<void*>(stage)); }

/// A value in text, numbers by the shortest digits that read back exactly.
std::string value_text(const Field& field, const void* value);
/// Whether the value counts as named: a condition that is set, a list that is not empty, everything else always.
bool is_named(const Field& field, const void* value);
/// What is wrong with a value, "layer=40 in a model of 28 layers: write 1..28"; empty when nothing is.
/// n_layers 0: no model is known, and the bound is kMaxPolicyLayers.
std::string value_error(const Field& field, const void* value, int32_t n_layers);
/// "1..28", "generated, prompt or all": what a field takes.
std::string value_range(const Field& field, int32_t n_layers);
/// "confidence_at_least, margin_at_least or entropy_below".
std::string one_of(const StageInfo& info);

std::string print_stage(const StageInfo& info, const void* stage);
Result<void> check_stage(const StageInfo& info, const void* stage, int32_t n_layers);

/// The built-in stages of a text.
Result<std::vector<AnyStage>> read_stages(std::string_view text);

}  // namespace fathom::policy_text
