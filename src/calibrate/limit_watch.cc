// LimitWatch: which limits have the last word, and what each demands of a row.
#include "src/calibrate/limit_watch.h"

namespace fathom {
namespace {

using policy_text::AnyStage;

constexpr double kRounding = 1e-5;  // of a budget, whose sums the policy sees as floats

bool restores(const AnyStage& stage) {
  return std::holds_alternative<min_depth>(stage) || std::holds_alternative<full_depth_first>(stage);
}
// Restores rows that only the engine knows: by their tokens, or by what was predicted before them.
bool restores_some(const AnyStage& stage) {
  return std::holds_alternative<full_depth_at>(stage) || std::holds_alternative<full_depth_after>(stage);
}
bool caps(const AnyStage& stage) {
  const auto* depth = std::get_if<max_depth>(&stage);
  return std::holds_alternative<budget>(stage) || (depth != nullptr && depth->on != On::prompt);
}

// Whether nothing to the right takes the word from it.
bool is_watched(std::span<const AnyStage> stages, size_t i) {
  if (const auto* debt = std::get_if<kv>(&stages[i])) return debt->mode == KvMode::settle_later;
  if (std::holds_alternative<settle_every>(stages[i])) return true;
  if (!restores(stages[i]) && !caps(stages[i])) return false;
  for (const AnyStage& right : stages.subspan(i + 1)) {
    if (restores(stages[i]) ? caps(right) : restores(right) || restores_some(right)) return false;
  }
  return true;
}

}  // namespace

Result<LimitWatch> LimitWatch::make(const Policy& policy, int32_t n_layers, int32_t sequences) {
  LimitWatch watch;
  FATHOM_TRY(const std::vector<AnyStage> stages, policy_text::read_stages(policy.text()));
  for (size_t i = 0; i < stages.size(); ++i) {
    if (!is_watched(stages, i)) continue;
    watch.watched_.push_back(stages[i]);
    watch.checks_.push_back(
        {.policy = policy.text(), .limit = std::visit([](const auto& stage) { return stage.text(); }, stages[i])});
  }
  watch.n_layers_ = n_layers;
  watch.spent_.resize(size_t(sequences));
  return watch;
}

void LimitWatch::begin() { spent_.assign(spent_.size(), {}); }

void LimitWatch::see(const RowResult& row, int32_t owed) {
  for (size_t i = 0; i < watched_.size(); ++i) {
    ++checks_[i].rows;
    checks_[i].broken += !kept(watched_[i], row, owed);
  }
  Spent& spent = spent_[size_t(row.sequence)];
  spent.macs += row.step_macs;
  spent.full_macs += row.full_macs;
  ++spent.rows;
}

bool LimitWatch::kept(const AnyStage& stage, const RowResult& row, int32_t owed) const {
  const Spent& before = spent_[size_t(row.sequence)];
  if (const auto* least = std::get_if<min_depth>(&stage)) return row.depth >= float(least->layers);
  if (const auto* first = std::get_if<full_depth_first>(&stage)) {
    return before.rows >= first->tokens || row.depth == float(n_layers_);
  }
  if (const auto* most = std::get_if<max_depth>(&stage)) return row.depth <= float(most->layers);
  if (const auto* share = std::get_if<budget>(&stage)) {
    const double allowed = double(share->of_full.value_or(1)) * (before.full_macs + row.full_macs);
    return row.depth <= 1 || before.macs + row.step_macs <= allowed * (1 + kRounding);
  }
  if (const auto* turn = std::get_if<settle_every>(&stage)) return owed <= turn->tokens;
  return owed <= std::get<kv>(stage).max_rows;
}

}  // namespace fathom
