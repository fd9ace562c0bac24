// pipeline: stages joined by `|`, flat, so that composition is associative and full_depth is its identity.
// Next in the flow: policy/policy.h, which erases its type.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"
#include "fathom/policy/stage.h"

namespace fathom {

/// Stages of one policy; Decision::stage is an int8_t, and nobody reads a longer sentence.
inline constexpr int kMaxStages = 64;

namespace detail {

/// One stage's turn: only proposals add, and the index of who changed the verdict is kept here, not by stages.
template <Stage S>
constexpr Decision take(const S& stage, int index, const Step& step, Decision before) noexcept {
  if constexpr (S::traits.kind == StageKind::setting) {
    return before;
  } else {
    Verdict verdict = stage(step, before).verdict;
    if constexpr (S::traits.kind == StageKind::proposal) verdict = verdict | before.verdict;
    return verdict == before.verdict ? before : Decision{verdict, static_cast<int8_t>(index)};
  }
}

/// There is no head before the first layer: an exit asked for at boundary 0 reads as run.
constexpr Decision settle_boundary(const Step& step, Decision decision) noexcept {
  if (step.layer != 0 || saving_of(decision.verdict) != Verdict::exit) return decision;
  const Verdict removal = removal_of(decision.verdict);
  return removal == Verdict::run ? Decision{} : Decision{removal, decision.stage};
}

/// What the stages up to this one read. A limit that restores the row in any case makes what stands before it not
/// worth computing, except `agreeing`, which counts from check to check.
template <Stage S>
constexpr SignalSet read_on(const S& stage, SignalSet before, int32_t layer, int32_t n_layers, RowKind kind) noexcept {
  if constexpr (requires { stage.restores_at(layer, n_layers, kind); }) {
    if (stage.restores_at(layer, n_layers, kind)) before.bits &= SignalSet(Signal::agreeing).bits;
  }
  if constexpr (NarrowStage<S>) {
    return before | stage.reads_at(layer, n_layers, kind);
  } else {
    return layer >= 1 ? before | S::traits.reads : before;
  }
}

/// Nothing has been run before boundary 0: only what is known of the sequence and its tokens can be read there.
constexpr SignalSet readable_at(int32_t layer, SignalSet reads) {
  constexpr SignalSet kKnown =
      kHistorySignals | Signal::token_class | kMergeSignals | Signal::tokens_left | Signal::tokens_read;
  if (layer == 0) reads.bits &= kKnown.bits;
  return reads;
}

template <Stage S>
constexpr bool never_saves() {
  if constexpr (requires { S::never_saves; }) return S::never_saves;
  return S::traits.kind == StageKind::setting;
}

/// A stage whose values say what it reads may say by them whether the order of rows matters.
template <Stage S>
constexpr bool is_sequential(const S& stage) noexcept {
  if constexpr (requires {
                  { stage.sequential() } -> std::same_as<bool>;
                })
    return stage.sequential();
  return S::traits.sequential || S::traits.reads.any(kHistorySignals);
}

template <Stage S>
std::string text_of(const S& stage) {
  if constexpr (requires {
                  { stage.text() } -> std::convertible_to<std::string>;
                })
    return stage.text();
  return std::string(S::traits.name) + "(?)";
}

/// A stage among others: what the rules between stages look at.
struct Placed {
  const char* name = "";
  StageKind kind = StageKind::proposal;
  Settings sets = {};  // what it alone configures
};

template <Stage S>
constexpr Placed placed(const S& stage) {
  Placed p{S::traits.name, S::traits.kind, {}};
  if constexpr (Configures<S>) stage.apply(p.sets);
  return p;
}

/// What is wrong with a stage behind others, and what all of them together lack; `index` says who lacks it.
///   errors   argument: a proposal right of kv(verify); drafts without kv(verify)
FATHOM_API Result<void> check_place(std::span<const Placed> before, const Placed& stage);
FATHOM_API Result<void> check_together(std::span<const Placed> stages, size_t* index = nullptr);

template <Stage S>
Result<void> check_of(const S& stage, int32_t n_layers) {
  if constexpr (requires {
                  { stage.check(n_layers) } -> std::same_as<Result<void>>;
                })
    return stage.check(n_layers);
  return {};
}

}  // namespace detail

/// Stages in the order they are asked. Made by `|`; `pipeline<>` is full depth.
template <Stage... S>
struct pipeline {
  static_assert(sizeof...(S) <= kMaxStages, "a policy has at most 64 stages");
  static constexpr bool has_proposal = (false || ... || (S::traits.kind == StageKind::proposal));
  static constexpr bool has_limit = (false || ... || (S::traits.kind == StageKind::limit));

  std::tuple<S...> stages;

  constexpr Decision operator()(const Step& step, Decision decision = {}) const noexcept {
    [[maybe_unused]] int index = 0;
    std::apply([&](const S&... s) { ((decision = detail::take(s, index++, step, decision)), ...); }, stages);
    return detail::settle_boundary(step, decision);
  }
  constexpr SignalSet reads(int32_t layer, int32_t n_layers, RowKind kind) const noexcept {
    SignalSet set;
    std::apply([&](const S&... s) { ((set = detail::read_on(s, set, layer, n_layers, kind)), ...); }, stages);
    return detail::readable_at(layer, set);
  }
  constexpr Settings settings() const noexcept {
    Settings all;
    [[maybe_unused]] auto apply = [&](const auto& stage) {
      if constexpr (Configures<std::remove_cvref_t<decltype(stage)>>) stage.apply(all);
    };
    std::apply([&](const S&... s) { (apply(s), ...); }, stages);
    return all;
  }
  /// True when no stage can save anything.
  static constexpr bool is_full_depth() { return (true && ... && detail::never_saves<S>()); }
  /// True when some stage needs the rows of a sequence one after another.
  constexpr bool is_sequential() const noexcept {
    return std::apply([](const S&... s) { return (false || ... || detail::is_sequential(s)); }, stages);
  }

  std::string text() const {
    std::string all;
    [[maybe_unused]] auto append = [&](const std::string& one) { all.append(all.empty() ? "" : " | ").append(one); };
    std::apply([&](const S&... s) { (append(detail::text_of(s)), ...); }, stages);
    return all.empty() ? "full_depth" : all;
  }
  Result<void> check(int32_t n_layers) const {
    Result<void> first;
    [[maybe_unused]] auto look = [&](const auto& stage) {
      if (first) first = detail::check_of(stage, n_layers);
    };
    std::apply([&](const S&... s) { (look(s), ...); }, stages);
    if (!first) return first;
    const auto all = std::apply(
        [](const S&... s) { return std::array<detail::Placed, sizeof...(S)>{detail::placed(s)...}; }, stages);
    return detail::check_together(all);
  }
  friend constexpr bool operator==(const pipeline&, const pipeline&) = default;
};

/// The reference: every row runs every layer. The identity of `|`.
using full_depth = pipeline<>;

namespace detail {

template <class T>
struct as_pipeline;
template <Stage S>
struct as_pipeline<S> {
  using type = pipeline<S>;
  static constexpr type make(const S& stage) { return type{std::tuple<S>(stage)}; }
};
template <Stage... S>
struct as_pipeline<pipeline<S...>> {
  using type = pipeline<S...>;
  static constexpr const type& make(const type& stages) { return stages; }
};

template <class T, class P>
inline constexpr bool repeats_setting = false;
template <class T, class... S>
inline constexpr bool repeats_setting<T, pipeline<S...>> = Configures<T> && (false || ... || std::is_same_v<T, S>);

template <class L, class R>
inline constexpr bool shares_setting = false;
template <class... S, class R>
inline constexpr bool shares_setting<pipeline<S...>, R> = (false || ... || repeats_setting<S, R>);

template <class... A, class... B>
constexpr pipeline<A..., B...> join(const pipeline<A...>& left, const pipeline<B...>& right) {
  return {std::tuple_cat(left.stages, right.stages)};
}

}  // namespace detail

/// What `|` joins: a stage, or stages joined before.
template <class T>
concept Composable = requires {
  typename detail::as_pipeline<T>::type;
};

/// Limits have the last word: a proposal does not stand to the right of a limit.
template <class L, class R>
concept ProposalsStandLeftOfLimits =
    !(detail::as_pipeline<L>::type::has_limit && detail::as_pipeline<R>::type::has_proposal);

/// A setting of one kind, and any other stage that configures, is given once.
template <class L, class R>
concept EachSettingIsGivenOnce =
    !detail::shares_setting<typename detail::as_pipeline<L>::type, typename detail::as_pipeline<R>::type>;

/// The stages of `left`, then those of `right`.
template <Composable L, Composable R>
requires ProposalsStandLeftOfLimits<L, R> && EachSettingIsGivenOnce<L, R>
constexpr auto operator|(const L& left, const R& right) {
  return detail::join(detail::as_pipeline<L>::make(left), detail::as_pipeline<R>::make(right));
}

}  // namespace fathom
