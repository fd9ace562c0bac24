// The heads of a step: the whole one, its bounds, and shortlists of it. Next in the flow: session.cc.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fathom/sample/sampler.h"
#include "src/engine/session_impl.h"

namespace fathom {

// The shortlist holds the tokens of the text.
Result<void> Session::Impl::prepare_hot(std::span<const Row> step, const Plan& plan) {
  if (plan.hot_tokens == 0) return {};
  if (!hot || hot->capacity_asked() != plan.hot_tokens) {
    const Weights& weights = model.weights();
    FATHOM_TRY(HotHead made, HotHead::make(weights.head_rows, weights.head, plan.hot_tokens));
    hot.emplace(std::move(made));
  }
  hot->begin_step();
  for (const Row& row : step) hot->use({&row.token, 1});
  return {};
}

Result<void> Session::Impl::prepare_screen(const Plan& plan) {
  if (!plan.screens || screen) return {};
  const Weights& weights = model.weights();
  if (weights.head_kernel == nullptr) {
    return Error{ErrorCode::unsupported,
                 fmt::format("screen_head: the head, {}, is not packed in two parts: open the model with "
                             "OpenOptions::screen_head; types but Q8_0 and Q6_K have no bounds, leave it out there",
                             info(weights.head.matrix.type).name)};
  }
  FATHOM_TRY(ScreenedHead made, ScreenedHead::make({weights.head, weights.head_kernel}, options.max_logit_rows));
  screen.emplace(std::move(made));
  return {};
}

// The shortlist of exit checks stays as it is, whatever the text: what a row does hangs on no other row.
Result<void> Session::Impl::prepare_checks(const Plan& plan) {
  if (plan.check_tokens == 0 || plan.settles_all || !reads(plan.policy, kExitSignals)) return {};
  if (checks && checks->capacity_asked() == plan.check_tokens) return {};
  const Weights& weights = model.weights();
  FATHOM_TRY(HotHead made, HotHead::make(weights.head_rows, weights.head, plan.check_tokens));
  if (exits != nullptr) {
    const std::span<const int32_t> listed = exits->shortlist();
    made.use(listed.first(std::min(listed.size(), made.tokens().size())));
  }
  checks.emplace(std::move(made));
  return {};
}

// What each row's logits are for. A policy that reads their entropy wants all of them.
void Session::Impl::say_uses(const Plan& plan) {
  uses.clear();
  reports.clear();
  if (!plan.screens) return;
  const bool all = reads(plan.policy, kHistorySignals);
  for (const RowState& row : rows) {
    if (row.slot < 0) continue;
    const Sequence& s = sequence(row.sequence);
    const std::span<const int32_t> before(s.tokens.data(), static_cast<size_t>(row.position) + 1);
    uses.push_back({all ? nullptr : s.sampling, s.number, row.position + 1, before});
  }
  reports.assign(uses.size(), {.full = FullHead::all_logits});
}

HeadWay Session::Impl::way_of(const RowState& row, const Plan& plan) const {
  if (row.slot < 0) return HeadWay::none;
  if (plan.defers()) return HeadWay::shortlist;
  if (!plan.screens) return HeadWay::whole;
  const auto reason = static_cast<int>(reports[static_cast<size_t>(row.slot)].full);
  return static_cast<HeadWay>(static_cast<int>(HeadWay::screened) + reason);
}

// And those that the whole head ranks high: what it nearly chose here it often chooses later. Of 128 tokens and the
// text itself .96 to .998 of what came next were listed, where the 8,192 most frequent of other texts gave .74 to .99
// (docs/lossless.md).
void Session::Impl::watch_head() {
  constexpr int64_t kWatched = 128;
  watched.resize(static_cast<size_t>(kWatched * n_logits));
  pool.run(n_logits, [&](int64_t slot) {
    const auto dst = std::span(watched).subspan(static_cast<size_t>(slot * kWatched), kWatched);
    const int32_t n = largest(logits(static_cast<int32_t>(slot)), dst);
    std::fill(dst.begin() + n, dst.end(), -1);
  });
  hot->use(watched);
}

}  // namespace fathom
