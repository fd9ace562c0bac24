// Certifying an embedding: trials on texts to choose by, tests on the others, turns beside full depth, and the verdict.
#include "fathom/calibrate/embedding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "src/calibrate/cosine_sequence.h"
#include "src/calibrate/median.h"

namespace fathom {
namespace {

constexpr size_t kBlock = 32;        // texts between two looks at whether a policy has a chance
constexpr size_t kTimed = 64;        // texts of a turn
constexpr int kPairs = 7;            // of turns; the one that goes first changes
constexpr double kWorthwhile = 1.2;  // times full depth's speed, below which the verdict says what that much would cost

using Vectors = std::vector<std::vector<float>>;  // [texts]

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

float cosine(std::span<const float> a, std::span<const float> b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return aa > 0 && bb > 0 ? static_cast<float>(ab / std::sqrt(aa * bb)) : 0.0f;
}

/// Texts of all groups in turn, so that the first few are of each.
struct Texts {
  std::vector<std::string_view> texts;
  std::vector<size_t> groups;
  Vectors full;  // full depth's

  static Texts of(std::span<const EmbeddingGroup> all, std::vector<std::string> EmbeddingGroup::*part) {
    Texts out;
    size_t most = 0;
    for (const EmbeddingGroup& group : all) most = std::max(most, (group.*part).size());
    for (size_t i = 0; i < most; ++i) {
      for (size_t g = 0; g < all.size(); ++g) {
        if (i >= (all[g].*part).size()) continue;
        out.texts.push_back((all[g].*part)[i]);
        out.groups.push_back(g);
      }
    }
    return out;
  }
  size_t n_blocks() const { return (texts.size() + kBlock - 1) / kBlock; }
  std::span<const std::string_view> block(size_t b) const {
    return std::span(texts).subspan(b * kBlock, std::min(kBlock, texts.size() - b * kBlock));
  }
};

class Certifier {
 public:
  Certifier(Encoder& encoder, std::span<const EmbeddingGroup> groups, const EmbeddingOptions& options)
      : encoder_(encoder),
        options_(options),
        rule_{options.cosine, options.risk, options.confidence},
        n_groups_(groups.size()) {
    choose_ = Texts::of(groups, &EmbeddingGroup::choose);
    certify_ = Texts::of(groups, &EmbeddingGroup::certify);
    for (const EmbeddingGroup& group : groups) found_.groups.push_back(group.name);
  }

  Result<EmbeddingCertificate> run(std::span<const Policy> policies) {
    FATHOM_TRY(full_depth(choose_, "full depth", 0));
    FATHOM_TRY(full_depth(certify_, "full depth", 0.05));
    drop_same();
    found_.n_choose = counts(choose_);
    found_.n_certify = counts(certify_);
    for (size_t i = 0; i < policies.size(); ++i) {
      FATHOM_TRY(EmbeddingTrial trial, try_policy(policies[i], 0.1 + 0.4 * double(i) / double(policies.size())));
      found_.trials.push_back(std::move(trial));
    }
    found_.sequence = safest_to_cheapest(found_.trials, found_.n_certify, rule_);
    FATHOM_TRY(choose_among());
    if (found_.certified) FATHOM_TRY(time());
    return std::move(found_);
  }

 private:
  Result<void> tell(std::string_view what, double done) {
    if (options_.on_progress == nullptr || options_.on_progress(options_.context, what, done)) return {};
    return Error{ErrorCode::cancelled, "the search for a policy was stopped"};
  }

  Result<std::vector<Embedding>> embed(std::span<const std::string_view> texts, const Policy& policy) {
    Result<std::vector<Embedding>> made = encoder_.embed(texts, policy);
    if (made) return made;
    return Error{made.error().code, fmt::format("policy {}: {}", policy.text(), made.error().message)};
  }

  Result<void> full_depth(Texts& of, std::string_view what, double done) {
    for (size_t b = 0; b < of.n_blocks(); ++b) {
      FATHOM_TRY(tell(what, done + 0.05 * double(b) / double(of.n_blocks())));
      FATHOM_TRY(std::vector<Embedding> made, embed(of.block(b), Policy()));
      for (Embedding& e : made) of.full.push_back(std::move(e.values));
    }
    return {};
  }

  // Texts that differ behind the place where they are cut are one: what is counted must not depend on one another.
  void drop_same() {
    const auto key = [](const std::vector<float>& v) { return XXH3_64bits(v.data(), v.size() * sizeof(float)); };
    std::set<uint64_t> seen;
    for (const auto& v : choose_.full) seen.insert(key(v));
    Texts kept;
    for (size_t i = 0; i < certify_.texts.size(); ++i) {
      if (!seen.insert(key(certify_.full[i])).second) {
        ++found_.n_same;
        continue;
      }
      kept.texts.push_back(certify_.texts[i]);
      kept.groups.push_back(certify_.groups[i]);
      kept.full.push_back(std::move(certify_.full[i]));
    }
    certify_ = std::move(kept);
  }

  std::vector<int64_t> counts(const Texts& of) const {
    std::vector<int64_t> n(n_groups_);
    for (const size_t g : of.groups) ++n[g];
    return n;
  }

  Result<EmbeddingTrial> try_policy(const Policy& policy, double done) {
    EmbeddingTrial trial{.policy = policy, .cosines = CosinesByGroup(n_groups_)};
    double work = 0;
    size_t n = 0;
    for (size_t b = 0; b < choose_.n_blocks() && !trial.ended; ++b) {
      FATHOM_TRY(tell(policy.text(), done));
      const double begin = now();
      FATHOM_TRY(const std::vector<Embedding> made, embed(choose_.block(b), policy));
      if (b == 0) {  // beside it, not from a time when the machine was busier
        const double between = now();
        FATHOM_TRY(embed(choose_.block(b), Policy()));
        trial.speed = (now() - between) / std::max(between - begin, 1e-9);
      }
      for (const Embedding& e : made) {
        trial.cosines[choose_.groups[n]].push_back(cosine(e.values, choose_.full[n]));
        work += e.work;
        ++n;
      }
      trial.ended = n < choose_.texts.size() && without_chance(trial.cosines, rule_);
    }
    trial.work = n > 0 ? work / double(n) : 1;
    return trial;
  }

  Result<CosinesByGroup> test(const Policy& policy, double done, double& work) {
    CosinesByGroup cosines(n_groups_);
    double sum = 0;
    size_t n = 0;
    for (size_t b = 0; b < certify_.n_blocks(); ++b) {
      FATHOM_TRY(tell(policy.text(), done));
      FATHOM_TRY(const std::vector<Embedding> made, embed(certify_.block(b), policy));
      for (const Embedding& e : made) {
        cosines[certify_.groups[n]].push_back(cosine(e.values, certify_.full[n]));
        sum += e.work;
        ++n;
      }
    }
    work = n > 0 ? sum / double(n) : 1;
    return cosines;
  }

  const Policy& candidate(int32_t place) const {
    return found_.trials[static_cast<size_t>(found_.sequence[static_cast<size_t>(place)])].policy;
  }

  Result<void> choose_among() {
    if (found_.sequence.empty()) return {};
    const auto n = static_cast<int32_t>(found_.sequence.size());
    std::vector<double> works(found_.sequence.size(), 1);
    FATHOM_TRY(found_.choice, certify_in_order(found_.groups, n, rule_, [&](int32_t c) {
                 return test(candidate(c), 0.5 + 0.4 * double(c) / double(n), works[static_cast<size_t>(c)]);
               }));
    if (!found_.choice.certified()) return {};
    found_.certified = true;
    found_.policy = candidate(found_.choice.candidate);
    found_.work = works[static_cast<size_t>(found_.choice.candidate)];
    return {};
  }

  Result<void> time() {
    const auto texts = std::span(certify_.texts).first(std::min(kTimed, certify_.texts.size()));
    std::vector<double> full, policy, ratios;
    for (int i = 0; i < kPairs; ++i) {
      FATHOM_TRY(tell("turns beside full depth", 0.9 + 0.1 * i / kPairs));
      for (const bool early : {i % 2 == 0, i % 2 != 0}) {
        const double begin = now();
        FATHOM_TRY(embed(texts, early ? found_.policy : Policy()));
        (early ? policy : full).push_back(now() - begin);
      }
      ratios.push_back(full.back() / std::max(policy.back(), 1e-9));
    }
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    found_.times = {.texts = std::ssize(texts),
                    .pairs = kPairs,
                    .full_seconds = median(full),
                    .policy_seconds = median(policy),
                    .ratio = median(ratios),
                    .least = *least,
                    .most = *most};
    return {};
  }

  Encoder& encoder_;
  const EmbeddingOptions& options_;
  CosineRule rule_;
  size_t n_groups_;
  Texts choose_, certify_;
  EmbeddingCertificate found_;
};

std::string promise_of(const EmbeddingCertificate& found, const EmbeddingOptions& options, int32_t max_tokens) {
  if (!found.certified) return {};
  return fmt::format(
      "With confidence {:g} %, at most {:g} % of distinct texts of each of {}, cut at {} tokens, get a vector whose "
      "cosine with full depth's is below {:g}.",
      100 * options.confidence, 100 * options.risk, fmt::join(found.groups, ", "), max_tokens, options.cosine);
}

// Of the policies that seemed fast enough, the one that keeps most.
std::string what_more_speed_costs(const EmbeddingCertificate& found, const EmbeddingOptions& options) {
  const EmbeddingTrial* best = nullptr;
  for (const EmbeddingTrial& trial : found.trials) {
    if (trial.speed < kWorthwhile) continue;
    if (best == nullptr || trial.kept_by_all_but(options.risk) > best->kept_by_all_but(options.risk)) best = &trial;
  }
  if (best == nullptr) return fmt::format(" No policy that was tried is {:g} times as fast.", kWorthwhile);
  size_t n = 0;
  for (const auto& of : best->cosines) n += of.size();
  return fmt::format(
      " Of those {:g} times as fast or more in one turn, {} keeps most: of its worst group, all but {:g} % of texts "
      "keep a cosine "
      "of "
      "{:.4f}, half of them {:.4f} ({} texts).",
      kWorthwhile, best->policy.text(), 100 * options.risk, best->kept_by_all_but(options.risk),
      best->kept_by_all_but(0.5), n);
}

std::string why_nothing(const EmbeddingCertificate& found, const EmbeddingOptions& options) {
  if (found.sequence.empty()) {
    return fmt::format(
        "No-go: under none of {} policies that save work do few enough of the texts to choose by lose "
        "the cosine of {:g}.",
        found.trials.size(), options.cosine);
  }
  std::string why = fmt::format("No-go: the safest policy, {}, is not certified",
                                found.trials[static_cast<size_t>(found.sequence.front())].policy.text());
  for (const GroupBound& bound : found.choice.refused) {
    if (bound.p_value <= found.choice.delta) continue;
    why += fmt::format(": of {}, {:.2f} % of {} texts are below the cosine, and so surely no more than {:.2f} %",
                       found.groups[static_cast<size_t>(bound.group)], 100 * bound.mean, bound.n, 100 * bound.upper);
    break;
  }
  return why + ".";
}

std::string verdict_of(const EmbeddingCertificate& found, const EmbeddingOptions& options) {
  if (!found.certified) return why_nothing(found, options) + what_more_speed_costs(found, options);
  std::string text = fmt::format(
      "{} does {:.3f} of full depth's work and runs at {:.2f} times its speed here ({:.2f} "
      "to {:.2f}, {} pairs of turns on {} texts)",
      found.policy.text(), found.work, found.times.ratio, found.times.least, found.times.most, found.times.pairs,
      found.times.texts);
  text = found.pays() ? "Go: " + text + "."
                      : "No-go: the cheapest certified policy, " + text +
                            fmt::format(", less than the {:g} from which it is used.", EmbeddingCertificate::kPays);
  return found.times.ratio < kWorthwhile ? text + what_more_speed_costs(found, options) : text;
}

Result<void> check(std::span<const EmbeddingGroup> groups, const EmbeddingOptions& options) {
  for (const auto& [name, value] : {std::pair("cosine", options.cosine), std::pair("risk", options.risk),
                                    std::pair("confidence", options.confidence)}) {
    if (value > 0 && value < 1) continue;
    return Error{ErrorCode::argument, fmt::format("{} {:g}: give a number between 0 and 1", name, value)};
  }
  if (groups.empty()) return Error{ErrorCode::argument, "no groups of text: give one"};
  for (const EmbeddingGroup& group : groups) {
    if (!group.choose.empty() && !group.certify.empty()) continue;
    return Error{ErrorCode::argument, fmt::format("group {}: no texts to {}: give some", group.name,
                                                  group.choose.empty() ? "choose by" : "certify on")};
  }
  return {};
}

}  // namespace

Result<EmbeddingCertificate> certify_embedding(const Model& model, std::span<const EmbeddingGroup> groups,
                                               const EmbeddingOptions& options) {
  FATHOM_TRY(check(groups, options));
  const std::vector<Policy> policies =
      options.policies.empty() ? embedding_ladder(model.config().n_layers) : options.policies;
  for (const Policy& policy : policies) FATHOM_TRY(policy.check(model.config().n_layers));
  FATHOM_TRY(Encoder encoder, Encoder::make(model, options.encoder));
  FATHOM_TRY(EmbeddingCertificate found, Certifier(encoder, groups, options).run(policies));
  found.promise = promise_of(found, options, encoder.options().max_tokens);
  found.verdict = verdict_of(found, options);
  return found;
}

}  // namespace fathom
