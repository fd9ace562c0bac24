// Random stages, policies and rows for the laws. Stages are valid for any model of kLayers layers.
#pragma once

#include <rapidcheck.h>

#include <limits>
#include <string>
#include <vector>

#include "fathom/policy/policy.h"
#include "src/policy/stage_table.h"

namespace fathom::laws {

inline constexpr int32_t kLayers = 12;

using Rows = std::vector<Step>;

inline std::vector<Decision> decide(const Policy& policy, const Rows& rows) {
  std::vector<Decision> decisions(rows.size());
  const PolicyRef ref = policy.ref();
  ref.table->decide(ref.self, rows.data(), decisions.data(), static_cast<int32_t>(rows.size()));
  return decisions;
}

inline SignalSet reads(const Policy& policy, const Step& step) {
  const PolicyRef ref = policy.ref();
  return ref.table->reads(ref.self, step.layer, step.n_layers, step.kind);
}

/// Any float of 0..1 that has 24 bits of fraction, the ends included.
inline rc::Gen<float> share() {
  return rc::gen::map(rc::gen::inRange(0, (1 << 24) + 1), [](int n) { return static_cast<float>(n) / (1 << 24); });
}
inline rc::Gen<int32_t> layer() { return rc::gen::inRange<int32_t>(1, kLayers + 1); }
inline On any_on() { return *rc::gen::element(On::generated, On::prompt, On::all); }
inline LayerSet any_layers() {
  LayerSet set;
  for (int32_t l : *rc::gen::nonEmpty(rc::gen::container<std::vector<int32_t>>(layer()))) set.add(l);
  return set;
}
inline std::optional<float> maybe_share(bool named) { return named ? std::optional<float>(*share()) : std::nullopt; }

inline HeadSet any_heads() {
  HeadSet set;
  for (int n = *rc::gen::inRange(1, 6); n > 0; --n) set.add(*layer(), *rc::gen::inRange<int32_t>(1, 9));
  return set;
}

inline ShareList any_shares() {
  ShareList shares;
  for (int n = *rc::gen::inRange(1, 5); n > 0; --n) shares.add(std::max(1e-3f, *share()));
  return shares;
}

template <class S>
S make() {
  if constexpr (std::is_same_v<S, exit_at>) return {.layer = *layer(), .on = any_on()};
  if constexpr (std::is_same_v<S, exit_when>) {
    const int named = *rc::gen::inRange(1, 16);
    const bool bounds = named & 8;
    const auto signal = static_cast<Signal>(*rc::gen::inRange(0, kSignals));
    return {.confidence_at_least = maybe_share(named & 1),
            .margin_at_least = maybe_share(named & 2),
            .entropy_below = maybe_share(named & 4),
            .signal = bounds ? signal : kNoSignal,
            .at_least = bounds && signal == Signal::agreeing ? std::optional<float>(2.0f) : maybe_share(bounds),
            .below = maybe_share(bounds && signal != Signal::agreeing && named & 1),
            .from_layer = *layer(),
            .every = *layer(),
            .on = any_on()};
  }
  if constexpr (std::is_same_v<S, patience>) {
    return {.agreeing = *rc::gen::inRange(2, 6), .from_layer = *layer(), .every = *layer(), .on = any_on()};
  }
  if constexpr (std::is_same_v<S, skip_layers>) return {.layers = any_layers(), .on = any_on()};
  if constexpr (std::is_same_v<S, skip_sublayers>) {
    const bool both = *rc::gen::arbitrary<bool>();
    return {.attention = any_layers(), .feed_forward = both ? any_layers() : LayerSet(), .on = any_on()};
  }
  if constexpr (std::is_same_v<S, skip_when>) {
    return {.similarity_above = *share(),
            .part = *rc::gen::element(Part::layer, Part::attention, Part::feed_forward),
            .from_layer = *layer(),
            .on = any_on()};
  }
  if constexpr (std::is_same_v<S, route>) {
    return {.utility_below = *share(),
            .light = *rc::gen::element(Light::none, Light::feed_forward, Light::attention),
            .from_layer = *layer(),
            .on = any_on()};
  }
  if constexpr (std::is_same_v<S, silence_heads>) return {.heads = any_heads(), .factor = *share(), .on = any_on()};
  if constexpr (std::is_same_v<S, min_depth>) return {.layers = *layer()};
  if constexpr (std::is_same_v<S, max_depth>) return {.layers = *layer(), .on = any_on()};
  if constexpr (std::is_same_v<S, budget>) {
    const bool of_tokens = *rc::gen::arbitrary<bool>();
    return {.of_full = of_tokens && *rc::gen::arbitrary<bool>() ? std::nullopt
                                                                : std::optional<float>(std::max(1e-6f, *share())),
            .tokens = of_tokens ? *rc::gen::inRange(1, 100) : 0};
  }
  if constexpr (std::is_same_v<S, full_depth_first>) return {.tokens = *rc::gen::inRange(1, 40)};
  if constexpr (std::is_same_v<S, full_depth_at>) {
    return {.tokens = static_cast<TokenClass>(*rc::gen::inRange(0, kTokenClasses))};
  }
  if constexpr (std::is_same_v<S, full_depth_after>) {
    return {.low_margin = *share(), .rows = *rc::gen::inRange(1, kLastMargins + 1)};
  }
  if constexpr (std::is_same_v<S, settle_every>) return {.tokens = *rc::gen::inRange(1, 65)};
  if constexpr (std::is_same_v<S, kv>) {
    return {.mode = *rc::gen::element(KvMode::fill, KvMode::settle_later), .max_rows = *rc::gen::inRange(1, 65)};
  }
  if constexpr (std::is_same_v<S, draft_ngram> || std::is_same_v<S, screen_head>) return {};
  if constexpr (std::is_same_v<S, screen_checks>) return {.tokens = *rc::gen::inRange(16, 5000)};
  if constexpr (std::is_same_v<S, defer_head>) return {.hot = *rc::gen::inRange(16, 5000)};
  if constexpr (std::is_same_v<S, prune_tokens>) {
    const ShareList keep = any_shares();
    return {.keep = keep,
            .from_layer = *layer(),
            .by = static_cast<TokenOrder>(*rc::gen::inRange(0, 5)),
            .schedule = static_cast<Schedule>(keep.size() > 1 ? 0 : *rc::gen::inRange(0, 3)),
            .blocks = *rc::gen::inRange(1, 257),
            .protect_first = *rc::gen::inRange(0, 100),
            .on = any_on()};
  }
  if constexpr (std::is_same_v<S, merge_tokens>) {
    const ShareList keep = any_shares();
    return {.keep = keep,
            .from_layer = *layer(),
            .alike_at_least = maybe_share(*rc::gen::arbitrary<bool>()),
            .schedule = static_cast<Schedule>(keep.size() > 1 ? 0 : *rc::gen::inRange(0, 3)),
            .blocks = *rc::gen::inRange(1, 257),
            .protect_first = *rc::gen::inRange(0, 100),
            .on = any_on()};
  }
  if constexpr (std::is_same_v<S, fuse_tokens>) {
    return {.alike_at_least = *share(), .noise = static_cast<Noise>(*rc::gen::inRange(0, 8))};
  }
  if constexpr (std::is_same_v<S, max_loss>) return {.attention = *share()};
}

/// A random stage of one kind, by its row of the table.
inline policy_text::AnyStage any_of(StageKind kind) {
  switch (kind) {
    case StageKind::proposal:
      switch (*rc::gen::inRange(0, 7)) {
        case 0:
          return make<exit_at>();
        case 1:
          return make<exit_when>();
        case 2:
          return make<patience>();
        case 3:
          return make<skip_layers>();
        case 4:
          return make<skip_sublayers>();
        case 5:
          return make<route>();
        default:
          return make<skip_when>();
      }
    case StageKind::limit:
      switch (*rc::gen::inRange(0, 7)) {
        case 0:
          return make<min_depth>();
        case 1:
          return make<max_depth>();
        case 2:
          return make<budget>();
        case 3:
          return make<full_depth_at>();
        case 4:
          return make<full_depth_after>();
        case 5:
          return make<max_loss>();
        default:
          return make<full_depth_first>();
      }
    default:
      return *rc::gen::arbitrary<bool>() ? policy_text::AnyStage(make<kv>()) : make<settle_every>();
  }
}

inline std::string text_of(const std::vector<policy_text::AnyStage>& stages) {
  std::string all;
  for (const auto& any : stages) {
    all.append(all.empty() ? "" : " | ").append(std::visit([](const auto& s) { return s.text(); }, any));
  }
  return all.empty() ? "full_depth" : all;
}

/// Proposals, then limits, a setting anywhere: what may stand in a policy.
inline rc::Gen<std::vector<policy_text::AnyStage>> stages() {
  return rc::gen::exec([] {
    std::vector<policy_text::AnyStage> all;
    for (int n = *rc::gen::inRange(0, 4); n > 0; --n) all.push_back(any_of(StageKind::proposal));
    for (int n = *rc::gen::inRange(0, 3); n > 0; --n) all.push_back(any_of(StageKind::limit));
    if (*rc::gen::arbitrary<bool>()) {
      all.insert(all.begin() + *rc::gen::inRange<long>(0, static_cast<long>(all.size()) + 1),
                 any_of(StageKind::setting));
    } else if (*rc::gen::arbitrary<bool>()) {  // what verifies stands right of all proposals, what drafts anywhere
      all.push_back(kv{.mode = KvMode::verify, .max_rows = *rc::gen::inRange(1, 65)});
      all.insert(all.begin() + *rc::gen::inRange<long>(0, static_cast<long>(all.size()) + 1),
                 *rc::gen::arbitrary<bool>() ? policy_text::AnyStage(draft_ngram{}) : make<defer_head>());
    }
    if (*rc::gen::arbitrary<bool>()) all.insert(all.begin(), screen_head{});
    if (*rc::gen::arbitrary<bool>()) all.insert(all.begin(), make<screen_checks>());
    if (*rc::gen::arbitrary<bool>()) all.insert(all.begin(), make<silence_heads>());
    if (*rc::gen::arbitrary<bool>()) all.insert(all.begin(), make<prune_tokens>());
    if (*rc::gen::arbitrary<bool>()) all.insert(all.begin(), make<merge_tokens>());
    if (*rc::gen::arbitrary<bool>()) all.insert(all.begin(), make<fuse_tokens>());
    return all;
  });
}
/// Some of the stages about tokens, each of which a policy has once, each behind a '|'.
inline rc::Gen<std::string> token_stages() {
  return rc::gen::exec([] {
    std::string all;
    const auto add = [&](const auto& stage) {
      if (*rc::gen::arbitrary<bool>()) all += " | " + stage.text();
    };
    add(make<prune_tokens>());
    add(make<merge_tokens>());
    add(make<fuse_tokens>());
    return all;
  });
}
inline rc::Gen<std::string> policy_text() {
  return rc::gen::exec([] { return text_of(*stages()); });
}
inline rc::Gen<std::string> proposals_text() {
  return rc::gen::exec([] {
    std::vector<policy_text::AnyStage> all;
    for (int n = *rc::gen::inRange(1, 4); n > 0; --n) all.push_back(any_of(StageKind::proposal));
    return text_of(all);
  });
}

inline Step any_step() {
  Step step;
  step.n_layers = kLayers;
  step.layer = *rc::gen::inRange(0, kLayers);
  step.kind = *rc::gen::element(RowKind::prompt, RowKind::generated);
  step.position = *rc::gen::inRange(0, 100);
  step.generated = step.kind == RowKind::generated ? *rc::gen::inRange(0, 60) : 0;
  step.work_rows = static_cast<float>(step.generated + 1);
  step.work_spent = *share() * static_cast<float>(step.generated);
  step.work_if_exit = *share();
  step.work_if_run = step.work_if_exit + 0.1f;
  const int read = *rc::gen::inRange(2, 200), left = *rc::gen::inRange(1, read + 1);
  const auto value = [&](Signal signal) {
    switch (signal) {
      case Signal::agreeing:
        return static_cast<float>(*rc::gen::inRange(1, 8));
      case Signal::token_class:
        return static_cast<float>(*rc::gen::inRange(0, kTokenClasses));
      case Signal::token_rank:
      case Signal::merge_rank:
        return static_cast<float>(*rc::gen::inRange(0, left));
      case Signal::tokens_left:
        return static_cast<float>(left);
      case Signal::tokens_read:
        return static_cast<float>(read);
      default:
        return *share();
    }
  };
  for (int s = 0; s < kSignals; ++s) {
    if (*rc::gen::inRange(0, 4) == 0) continue;  // a quarter was not computed
    step.signals[s] = value(static_cast<Signal>(s));
  }
  return step;
}

}  // namespace fathom::laws

namespace rc {

template <>
struct Arbitrary<fathom::Step> {
  static Gen<fathom::Step> arbitrary() { return gen::exec(fathom::laws::any_step); }
};

/// Every built-in stage is arbitrary through laws::make.
template <fathom::Stage S>
struct Arbitrary<S> {
  static Gen<S> arbitrary() { return gen::exec(fathom::laws::make<S>); }
};

}  // namespace rc

namespace fathom {

// How RapidCheck shows a counterexample.
template <Stage S>
void showValue(const S& stage, std::ostream& os) {
  os << stage.text();
}
inline void showValue(const Step& step, std::ostream& os) {
  os << "layer " << step.layer << (step.kind == RowKind::prompt ? " prompt" : " generated") << " row, signals";
  for (float s : step.signals) os << ' ' << s;
}

}  // namespace fathom
