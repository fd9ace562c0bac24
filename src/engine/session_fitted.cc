// What calibration fitted, as a session uses it: exits, routers, and what policies need of them. Next in the flow:
// session.cc.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "fathom/classify/label_heads.h"
#include "src/engine/session_impl.h"

namespace fathom {
namespace {

Result<int32_t> index_of(const ExitHeads& exits, std::string_view group) {
  const int32_t index = exits.group(group);
  if (index >= 0) return index;
  return Error{ErrorCode::argument, fmt::format("group '{}': calibration knows {}: name one of them", group,
                                                fmt::join(exits.groups(), ", "))};
}

}  // namespace

Result<void> Session::Impl::check_fitted(const Plan& plan) const {
  if (exits == nullptr && labels == nullptr && reads(plan.policy, Signal::agreement)) {
    return Error{ErrorCode::argument,
                 "agreement_at_least: nothing says how likely an answer is full depth's: calibrate the model, and use "
                 "what that writes (Session::use), or name confidence_at_least"};
  }
  if (labels == nullptr && plan.by_words) {
    return Error{ErrorCode::argument,
                 "word_exit: no label heads say what a text's words are worth: train a task, or leave it out"};
  }
  if (routers == nullptr && reads(plan.policy, Signal::utility)) {
    return Error{ErrorCode::argument,
                 "utility: no router says which layers a row needs: calibrate the model, and use what that writes "
                 "(Session::use_routers), or skip by similarity"};
  }
  return {};
}

// An encoder's cells live for one step, and it has no head.
Result<void> Session::Impl::check_encoder(const Plan& plan) const {
  if (!model.config().encodes()) {
    if (!reads(plan.policy, kTokenSignals)) return {};
    return Error{ErrorCode::unsupported,
                 "policy: tokens beside one another in a decoder, whose later tokens are not known: leave "
                 "prune_tokens, merge_tokens, fuse_tokens, max_loss and budget(tokens) out"};
  }
  const auto refuse = [](std::string_view what, std::string_view remedy) {
    return Error{ErrorCode::unsupported, fmt::format("policy: {} in an encoder: {}", what, remedy)};
  };
  if (plan.kv != KvMode::fill) return refuse("layers left owed", "leave kv(...) out");
  if (plan.screens || plan.hot_tokens > 0 || plan.check_tokens > 0) {
    return refuse("a way to read the language head", "leave screen_head, defer_head and screen_checks out");
  }
  if (plan.policy.table != nullptr && plan.policy.table->sequential(plan.policy.self)) {
    return refuse("a stage that reads what the token before did", "leave budget(of_full=...) and last_entropy out");
  }
  if (labels == nullptr && reads(plan.policy, kExitSignals)) {
    return refuse("answers of layers without a head",
                  "train label heads (Session::use_labels), exit at a layer, or by similarity");
  }
  return {};
}

Result<void> Session::use(std::shared_ptr<const ExitHeads> exits, std::string_view group) {
  int32_t index = 0;
  if (exits != nullptr) {
    FATHOM_TRY(index, index_of(*exits, group));
    if (exits->d_model() != impl_->model.config().d_model) {
      return Error{ErrorCode::argument, fmt::format("exits for states of {} in a model of {}: use those of this model",
                                                    exits->d_model(), impl_->model.config().d_model)};
    }
  }
  impl_->exits = std::move(exits);
  impl_->checks.reset();
  impl_->group = index;
  return {};
}

Result<void> Session::use_group(std::string_view group) {
  if (impl_->exits == nullptr) {
    if (group.empty()) return {};
    return Error{ErrorCode::argument,
                 fmt::format("group '{}': nothing was fitted for any group: calibrate, and use() what that writes "
                             "(Adaptation::attach)",
                             group)};
  }
  FATHOM_TRY(impl_->group, index_of(*impl_->exits, group));
  return {};
}

std::string_view Session::group() const noexcept {
  if (impl_->exits == nullptr) return {};
  const std::vector<std::string>& groups = impl_->exits->groups();
  const auto index = static_cast<size_t>(impl_->group);
  return index < groups.size() ? std::string_view(groups[index]) : std::string_view();
}

Result<void> Session::use_labels(std::shared_ptr<const LabelHeads> labels) {
  const ModelConfig& config = impl_->model.config();
  if (labels != nullptr &&
      (!config.encodes() || labels->full_layer() != config.n_layers || labels->d_model() != config.d_model)) {
    return Error{
        ErrorCode::argument,
        fmt::format("label heads for {} layers and states of {} in a model of family {} with {} and {}: use those "
                    "of this encoder",
                    labels->full_layer(), labels->d_model(), config.family, config.n_layers, config.d_model)};
  }
  impl_->labels = std::move(labels);
  return {};
}

Result<void> Session::use_routers(std::shared_ptr<const Routers> routers) {
  const ModelConfig& config = impl_->model.config();
  if (routers != nullptr && (routers->d_model() != config.d_model || routers->n_layers() != config.n_layers)) {
    return Error{ErrorCode::argument,
                 fmt::format("routers for {} layers and states of {} in a model of {} and {}: use those of this model",
                             routers->n_layers(), routers->d_model(), config.n_layers, config.d_model)};
  }
  impl_->routers = std::move(routers);
  return {};
}

}  // namespace fathom
