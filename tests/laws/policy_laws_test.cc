// The laws of policies, for random stages and random rows. What single stages mean is in tests/policy/.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "fathom/policy/policy.h"
#include "tests/laws/policy_generators.h"

namespace fathom {
namespace {

using laws::decide;
using laws::Rows;

/// All that can be seen of two policies from outside.
void same_behaviour(const Policy& a, const Policy& b, const Rows& rows) {
  RC_ASSERT(a.text() == b.text());
  RC_ASSERT(a.hash() == b.hash());
  RC_ASSERT(a == b);
  RC_ASSERT(a.settings() == b.settings());
  RC_ASSERT(a.is_full_depth() == b.is_full_depth());
  RC_ASSERT(a.is_sequential() == b.is_sequential());
  RC_ASSERT(decide(a, rows) == decide(b, rows));
  for (const Step& step : rows) RC_ASSERT(laws::reads(a, step) == laws::reads(b, step));
}

template <class A, class B, class C>
void joins_associatively() {
  const auto [a, b, c] = *rc::gen::tuple(rc::gen::arbitrary<A>(), rc::gen::arbitrary<B>(), rc::gen::arbitrary<C>());
  const auto left = (a | b) | c;
  const auto right = a | (b | c);
  static_assert(std::is_same_v<decltype(left), decltype(right)>);
  RC_ASSERT(left == right);
  same_behaviour(left, right, *rc::gen::arbitrary<Rows>());
}

RC_GTEST_PROP(PolicyLaws, CompositionIsAssociative, ()) {
  joins_associatively<exit_at, exit_when, patience>();
  joins_associatively<skip_layers, kv, exit_when>();
  joins_associatively<exit_when, min_depth, budget>();
  joins_associatively<skip_when, max_depth, min_depth>();
  joins_associatively<skip_sublayers, full_depth_first, kv>();
  joins_associatively<exit_when, full_depth_at, settle_every>();
}

template <class S>
void full_depth_changes_nothing() {
  const S stage = *rc::gen::arbitrary<S>();
  const Rows rows = *rc::gen::arbitrary<Rows>();
  static_assert(std::is_same_v<decltype(full_depth{} | stage), decltype(stage | full_depth{})>);
  same_behaviour(full_depth{} | stage, stage, rows);
  same_behaviour(stage | full_depth{}, stage, rows);
  same_behaviour(Policy::parse("full_depth | " + stage.text() + " | full_depth").value(), stage, rows);
}

RC_GTEST_PROP(PolicyLaws, FullDepthIsTheIdentity, ()) {
  full_depth_changes_nothing<exit_when>();
  full_depth_changes_nothing<skip_sublayers>();
  full_depth_changes_nothing<max_depth>();
  full_depth_changes_nothing<kv>();
  full_depth_changes_nothing<full_depth_after>();
  full_depth_changes_nothing<settle_every>();
}

template <class L>
void twice_is_once(const exit_when& first, const skip_layers& second, const Rows& rows) {
  const L limit = *rc::gen::arbitrary<L>();
  RC_ASSERT(decide(first | second | limit | limit, rows) == decide(first | second | limit, rows));
}

RC_GTEST_PROP(PolicyLaws, ALimitTwiceIsALimitOnce,
              (const exit_when& first, const skip_layers& second, const Rows& rows)) {
  twice_is_once<min_depth>(first, second, rows);
  twice_is_once<max_depth>(first, second, rows);
  twice_is_once<budget>(first, second, rows);
  twice_is_once<full_depth_first>(first, second, rows);
  twice_is_once<full_depth_at>(first, second, rows);
  twice_is_once<full_depth_after>(first, second, rows);
}

template <class L>
void only_restores(const exit_when& exit, const skip_layers& skip, const Rows& rows) {
  const L limit = *rc::gen::arbitrary<L>();
  const auto before = decide(exit | skip, rows), after = decide(exit | skip | limit, rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    RC_ASSERT(after[i].verdict == Verdict::run || after[i].verdict == before[i].verdict);
  }
  RC_ASSERT(Policy(limit).is_full_depth());
}

RC_GTEST_PROP(PolicyLaws, ASafeguardSavesNothing, (const exit_when& exit, const skip_layers& skip, const Rows& rows)) {
  only_restores<full_depth_first>(exit, skip, rows);
  only_restores<full_depth_at>(exit, skip, rows);
  only_restores<full_depth_after>(exit, skip, rows);
}

RC_GTEST_PROP(PolicyLaws, ALimitToTheRightWins, (const min_depth& least, const max_depth& most, const Rows& rows)) {
  const std::string proposals = *laws::proposals_text() + *laws::token_stages();
  const auto restored = decide(Policy::parse(proposals + " | " + least.text()).value(), rows);
  const auto capped = decide(Policy::parse(proposals + " | " + most.text()).value(), rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].layer < least.layers) RC_ASSERT(restored[i].verdict == Verdict::run);
    if (rows[i].layer >= most.layers && acts_on(most.on, rows[i].kind)) RC_ASSERT(exits(capped[i].verdict));
  }
}

RC_GTEST_PROP(PolicyLaws, AProposalOnlyAdds, (const Rows& rows)) {
  const std::string fewer = *laws::proposals_text();
  const std::string more = fewer + *laws::token_stages() + " | " + *laws::proposals_text();
  const auto without = decide(Policy::parse(fewer).value(), rows);
  const auto with = decide(Policy::parse(more).value(), rows);
  for (size_t i = 0; i < rows.size(); ++i) RC_ASSERT((without[i].verdict | with[i].verdict) == with[i].verdict);
}

RC_GTEST_PROP(PolicyLaws, AMissingSignalNeverSaves, (const Rows& rows, uint32_t missing)) {
  const Policy policy = Policy::parse(*laws::policy_text()).value();
  Rows poorer = rows;
  for (Step& step : poorer) {
    for (int s = 0; s < kSignals; ++s) {
      if (missing >> s & 1) step.signals[s] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  const auto all = decide(policy, rows);
  const auto fewer = decide(policy, poorer);
  for (size_t i = 0; i < rows.size(); ++i) RC_ASSERT((all[i].verdict | fewer[i].verdict) == all[i].verdict);
}

RC_GTEST_PROP(PolicyLaws, SignalsThatAreNotReadChangeNoVerdict, (const Rows& rows)) {
  const Policy policy = Policy::parse(*laws::policy_text()).value();
  Rows read_only = rows;
  for (Step& step : read_only) {
    const SignalSet reads = laws::reads(policy, step);
    for (int s = 0; s < kSignals; ++s) {
      if (!reads.has(static_cast<Signal>(s))) step.signals[s] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  const auto all = decide(policy, rows);
  const auto read = decide(policy, read_only);
  for (size_t i = 0; i < rows.size(); ++i) RC_ASSERT(all[i].verdict == read[i].verdict);
}

RC_GTEST_PROP(PolicyLaws, ManyRowsAreDecidedAsEachAlone, (const Rows& rows)) {
  const Policy policy = Policy::parse(*laws::policy_text()).value();
  const auto together = decide(policy, rows);
  for (size_t i = 0; i < rows.size(); ++i) RC_ASSERT(decide(policy, {rows[i]})[0] == together[i]);
}

RC_GTEST_PROP(PolicyLaws, TextReadsBackToTheSameStages, ()) {
  const std::vector<policy_text::AnyStage> stages = *laws::stages();
  const std::string text = laws::text_of(stages);
  RC_ASSERT(policy_text::read_stages(text).value() == stages);
  RC_ASSERT(Policy::parse(text).value().text() == text);
}

RC_GTEST_PROP(PolicyLaws, ATypedPolicyAndItsTextBehaveAlike,
              (const skip_when& skip, const exit_when& exit, const budget& cap, const min_depth& least,
               const Rows& rows)) {
  const Policy typed = skip | exit | kv{} | cap | least;
  same_behaviour(typed, Policy::parse(typed.text()).value(), rows);
}

RC_GTEST_PROP(PolicyLaws, ACopyIsEqualAndOutlivesItsOriginal, (const Rows& rows)) {
  const std::string text = *laws::policy_text();
  Policy copy;
  std::vector<Decision> original_decisions;
  {
    const Policy original = Policy::parse(text).value();
    original_decisions = decide(original, rows);
    copy = original;
    RC_ASSERT(copy == original);
  }
  RC_ASSERT(copy.text() == text);
  RC_ASSERT(decide(copy, rows) == original_decisions);
}

RC_GTEST_PROP(PolicyLaws, MangledTextIsCanonicalAfterReadingOrAnErrorWithAColumn, (uint32_t place, char by)) {
  std::string text = *laws::policy_text();
  const size_t at = place % text.size();
  switch (*rc::gen::inRange(0, 4)) {
    case 0:
      text[at] = by;
      break;
    case 1:
      text.insert(at, 1, by);
      break;
    case 2:
      text.erase(at, 1);
      break;
    default:
      text.insert(at, text.substr(at / 2, 12));
      break;
  }
  const auto policy = Policy::parse(text);
  if (policy) {
    RC_ASSERT(Policy::parse(policy->text()).value().text() == policy->text());
  } else {
    RC_ASSERT(policy.error().message.starts_with("policy, column "));
    RC_ASSERT(policy.error().message.find('\n') == std::string::npos);
  }
}

RC_GTEST_PROP(PolicyLaws, AnyBytesAreReadOrRefused, (const std::string& bytes)) {
  const auto policy = Policy::parse(bytes);
  RC_ASSERT(policy.has_value() || policy.error().code == ErrorCode::argument);
}

}  // namespace
}  // namespace fathom
