// attack(): families of sequences, each at full depth and under the policy with and without safeguards.
#include "fathom/calibrate/attack.h"

#include <fmt/format.h>

#include <algorithm>

#include "fathom/calibrate/calibrate.h"
#include "src/calibrate/attack_texts.h"
#include "src/calibrate/limit_watch.h"

namespace fathom {
namespace {

using Tokens = std::vector<std::vector<int32_t>>;  // [sequences][places]

Result<void> check(const AttackOptions& options, const ModelConfig& config, const Tokenizer& tokenizer) {
  const auto range = [](const char* name, int32_t value, int32_t least, int32_t most) -> Result<void> {
    if (value >= least && value <= most) return {};
    return Error{ErrorCode::argument, fmt::format("{} {}: give {} to {}", name, value, least, most)};
  };
  FATHOM_TRY(range("tokens", options.tokens, 16, std::min(4096, config.context - 1)));
  FATHOM_TRY(range("sequences", options.sequences, 1, 64));
  FATHOM_TRY(range("candidates", options.candidates, 2, 64));
  if (tokenizer.vocab() > 0) return {};
  return Error{ErrorCode::unsupported, "the model has no vocabulary: texts that tempt need one"};
}

bool says_kv(const Policy& policy) { return policy.text().find("kv(") != std::string::npos; }

// The policy, then with each safeguard; one that the policy's own kv() rules out is left out.
Result<std::vector<Policy>> guarded(const Policy& policy, const AttackOptions& options, int32_t n_layers) {
  const bool usual = options.safeguards.empty();
  std::vector<Policy> policies = {policy};
  for (const std::string& guard : usual ? attack_safeguards(n_layers) : options.safeguards) {
    if (usual && guard.starts_with("kv(") && says_kv(policy)) continue;
    FATHOM_TRY(Policy with, Policy::parse(policy.text() + " | " + guard));
    FATHOM_TRY(with.check(n_layers));
    policies.push_back(std::move(with));
  }
  return policies;
}

int32_t most_owed(std::span<const Policy> policies) {
  int32_t most = 0;
  for (const Policy& policy : policies) {
    const Settings settings = policy.settings();
    if (settings.kv != KvMode::fill) most = std::max(most, settings.kv_max_rows);
  }
  return most;
}

class Attacker {
 public:
  Attacker(std::vector<Policy> policies, const AttackOptions& options, SideBySide full, SideBySide tried,
           std::vector<LimitWatch> watches)
      : policies_(std::move(policies)),
        options_(options),
        full_(std::move(full)),
        tried_(std::move(tried)),
        watches_(std::move(watches)),
        draw_(full_.session().model(), options.seed),
        progress_(options.on_progress, options.context, "the attack") {
    for (const Policy& policy : policies_) out_.policies.push_back(policy.text());
    n_families_ = 4 + double(text_families().size());
  }

  Result<Attack> run() {
    FATHOM_TRY(const std::vector<AttackText> own, written("random", own_writing));
    FATHOM_TRY(measure("random", "the control: the model's own writing behind a random token", own));
    FATHOM_TRY(measure("repetition", "a few tokens over and over, then one that breaks it", repetitions(own)));
    for (const TextFamily& family : text_families()) {
      FATHOM_TRY(const std::vector<AttackText> texts, texts_of(family));
      FATHOM_TRY(measure(family.name, family.about, texts));
    }
    FATHOM_TRY(const std::vector<AttackText> wrong, written("wrong prefixes", wrong_prefixes));
    FATHOM_TRY(measure("wrong_prefixes", "the model's own writing, with another token where it was sure", wrong));
    progress_.begin("searching", 0.3);
    FATHOM_TRY(const std::vector<AttackText> found,
               search_errors(full_, tried_, draw_, policies_.front(), options_, progress_));
    FATHOM_TRY(measure("search", "tokens chosen for early confidence in what full depth does not say", found));
    finish();
    return std::move(out_);
  }

 private:
  template <class F>
  Result<std::vector<AttackText>> written(std::string_view what, F&& write) {
    progress_.begin(what, 0.05);
    return write(full_, draw_, options_.tokens, progress_);
  }

  std::vector<AttackText> repetitions(std::span<const AttackText> own) const {
    std::vector<AttackText> texts;
    Random random(options_.seed);
    for (const AttackText& text : own) texts.push_back(broken_repetition(text.tokens, random));
    return texts;
  }

  Result<std::vector<AttackText>> texts_of(const TextFamily& family) const {
    std::vector<AttackText> texts;
    Random random(options_.seed);
    for (int32_t s = 0; s < options_.sequences; ++s) {
      FATHOM_TRY(AttackText text, tokens_of(full_.session().model().tokenizer(), family.make(random), options_.tokens));
      texts.push_back(std::move(text));
    }
    return texts;
  }

  // Every policy on a family's sequences, against full depth.
  Result<void> measure(std::string_view name, std::string_view about, std::span<const AttackText> texts) {
    progress_.begin(name, 0.6 / n_families_);
    Tokens truth(texts.size());
    FATHOM_TRY(full_.begin());
    for (int32_t place = 0; place < options_.tokens; ++place) {
      FATHOM_TRY(const SideStep step, full_.step(tokens_at(texts, place), Policy()));
      for (size_t s = 0; s < texts.size(); ++s) truth[s].push_back(step.stats[s].argmax);
    }
    AttackedFamily family{.name = std::string(name), .about = std::string(about), .runs = {}};
    for (size_t p = 0; p < policies_.size(); ++p) {
      std::vector<AttackCase> cases;
      for (const AttackText& text : texts) {
        cases.push_back({.family = family.name, .tokens = text.tokens, .trap = text.trap});
      }
      FATHOM_TRY(AttackRun run, run_policy(p, texts, truth, cases));
      family.runs.push_back(std::move(run));
      if (p == 0) out_.worst.insert(out_.worst.end(), cases.begin(), cases.end());
      FATHOM_TRY(progress_.at(double(p + 1) / double(policies_.size())));
    }
    out_.families.push_back(std::move(family));
    return {};
  }

  Result<AttackRun> run_policy(size_t p, std::span<const AttackText> texts, const Tokens& truth,
                               std::span<AttackCase> cases) {
    AttackRun run{.policy = out_.policies[p]};
    double macs = 0, full_macs = 0;
    watches_[p].begin();
    FATHOM_TRY(tried_.begin());
    for (int32_t place = 0; place < options_.tokens; ++place) {
      FATHOM_TRY(const SideStep step, tried_.step(tokens_at(texts, place), policies_[p]));
      for (size_t s = 0; s < texts.size(); ++s) {
        const RowResult& row = step.rows[s];
        const bool differs = step.stats[s].argmax != truth[s][size_t(place)], behind = place >= texts[s].trap;
        ++run.rows, run.differ += differs;
        run.rows_behind += behind, run.differ_behind += behind && differs;
        run.mean_depth += row.depth;
        macs += row.step_macs, full_macs += row.full_macs;
        cases[s].differ += differs;
        cases[s].mean_depth += double(row.depth) / options_.tokens;
        watches_[p].see(row, tried_.session().owed(row.sequence));
      }
      for (const RowResult& row : step.settled) {
        macs += row.step_macs;
        watches_[p].settle(row);
      }
    }
    run.mean_depth /= double(run.rows);
    run.work = macs / full_macs;
    return run;
  }

  static std::vector<int32_t> tokens_at(std::span<const AttackText> texts, int32_t place) {
    std::vector<int32_t> tokens;
    for (const AttackText& text : texts) tokens.push_back(text.tokens[size_t(place)]);
    return tokens;
  }

  void finish() {
    std::erase_if(out_.worst, [](const AttackCase& one) { return one.differ == 0; });
    std::stable_sort(out_.worst.begin(), out_.worst.end(),
                     [](const AttackCase& a, const AttackCase& b) { return a.differ > b.differ; });
    for (const LimitWatch& watch : watches_) {
      out_.limits.insert(out_.limits.end(), watch.checks().begin(), watch.checks().end());
    }
  }

  std::vector<Policy> policies_;
  const AttackOptions& options_;
  SideBySide full_, tried_;
  std::vector<LimitWatch> watches_;  // [policies]
  TokenDraw draw_;
  Progress progress_;
  double n_families_ = 1;
  Attack out_;
};

}  // namespace

std::vector<std::string> attack_safeguards(int32_t n_layers) {
  return {fmt::format("min_depth(layers={})", (3 * n_layers + 3) / 4), "full_depth_first(tokens=16)",
          "kv(settle_later)"};
}

Result<Attack> attack(const Model& model, const Adaptation& attacked, const AttackOptions& options) {
  const Policy& policy = attacked.policy;
  FATHOM_TRY(check(options, model.config(), model.tokenizer()));
  const int32_t n_layers = model.config().n_layers;
  FATHOM_TRY(policy.check(n_layers));
  if (is_lossless(policy)) {
    return Attack{.lossless = true, .policies = {policy.text()}};
  }
  FATHOM_TRY(std::vector<Policy> policies, guarded(policy, options, n_layers));
  const int32_t n = options.sequences, owed = most_owed(policies);
  FATHOM_TRY(SideBySide full, SideBySide::make(model, {}, n, options.tokens, 0, options.threads));
  FATHOM_TRY(SideBySide tried, SideBySide::make(model, attacked, n, options.tokens, owed, options.threads));
  std::vector<LimitWatch> watches;
  for (const Policy& one : policies) {
    FATHOM_TRY(LimitWatch watch, LimitWatch::make(one, n_layers, n));
    watches.push_back(std::move(watch));
  }
  return Attacker(std::move(policies), options, std::move(full), std::move(tried), std::move(watches)).run();
}

}  // namespace fathom
