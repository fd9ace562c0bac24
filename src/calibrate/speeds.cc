// Speeds: ratios of one prompt are pairs, and prompts are what the interval is over.
#include "src/calibrate/speeds.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "fathom/engine/generate.h"

namespace fathom {
namespace {

constexpr size_t kPrompts = 64;       // at most, evenly over groups,
constexpr size_t kFewestPrompts = 8;  // and as many as are written in the time
constexpr size_t kPromptTokens = 32;  // of a piece, in front of what is written
constexpr int32_t kFewestTokens = 4;  // that are written, for a time

// Ratio of sums with its 95 % interval over prompts (the delta method): what a user waits for is the sum.
SpeedRatio ratio_of(const std::vector<double>& base, const std::vector<double>& tested) {
  const double n = double(base.size());
  double a = 0, b = 0, square = 0;
  for (size_t i = 0; i < base.size(); ++i) a += base[i], b += tested[i];
  const double ratio = a / b;
  for (size_t i = 0; i < base.size(); ++i) {
    const double off = base[i] - ratio * tested[i];
    square += off * off;
  }
  const double half = n > 1 ? 1.96 * std::sqrt(square * n / (n - 1)) / b : ratio / 2;
  return {ratio, std::max(ratio - half, 0.0), ratio + half};
}

// The first prompts of each group in turn.
std::vector<const PieceText*> prompts_of(std::span<const PieceText* const> texts, size_t n_groups) {
  std::vector<std::vector<const PieceText*>> by_group(n_groups);
  for (const PieceText* text : texts) by_group[size_t(text->group)].push_back(text);
  std::vector<const PieceText*> out;
  for (size_t i = 0; out.size() < kPrompts; ++i) {
    const size_t before = out.size();
    for (const auto& group : by_group) {
      if (i < group.size() && out.size() < kPrompts) out.push_back(group[i]);
    }
    if (out.size() == before) break;
  }
  return out;
}

}  // namespace

const MeasuredSpeed* best_lossless(std::span<const MeasuredSpeed> speeds) {
  const MeasuredSpeed* best = nullptr;
  for (const MeasuredSpeed& speed : speeds) {
    if (speed.policy == kLosslessPolicy || (speed.lossless && speed.over_lossless.low > 1)) best = &speed;
  }
  return best;
}

const MeasuredSpeed* certified_speed(std::span<const MeasuredSpeed> speeds) {
  return speeds.empty() || speeds.back().lossless ? nullptr : &speeds.back();
}

bool certified_pays(std::span<const MeasuredSpeed> speeds) {
  const MeasuredSpeed* const speed = certified_speed(speeds);
  return speed != nullptr && speed->over_full.low > 1 &&
         speed->over_lossless.low > best_lossless(speeds)->over_lossless.ratio;
}

std::string comparison(std::span<const MeasuredSpeed> speeds) {
  const MeasuredSpeed* const speed = certified_speed(speeds);
  if (speed == nullptr) {
    return fmt::format("not timed: behind no prompt did every policy write {} tokens", kFewestTokens);
  }
  return fmt::format("{:.3f} times the speed of lossless decoding ({:.3f} to {:.3f}), {:.3f} of full depth",
                     speed->over_lossless.ratio, speed->over_lossless.low, speed->over_lossless.high,
                     speed->over_full.ratio);
}

std::vector<int32_t> prompt_of(const PieceText& text) {
  std::vector<int32_t> prompt = text.lead;
  if (text.prompt) return prompt;  // what is behind it is the answer
  const size_t n = std::min(kPromptTokens, text.tokens.size());
  prompt.insert(prompt.end(), text.tokens.begin(), text.tokens.begin() + std::ptrdiff_t(n));
  return prompt;
}

SampleOptions sample_of(const CalibrateOptions& options, size_t prompt) {
  return {.temperature = static_cast<float>(options.temperature), .seed = options.seed + prompt};
}

double first_difference(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto n = std::ptrdiff_t(std::min(a.size(), b.size()));
  return double(std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin());
}

Result<Speeds> measure_speeds(const Model& model, const SpeedTrial& trial, const CalibrateOptions& options,
                              Progress& progress) {
  const std::span<const std::string> policies = trial.policies;
  const size_t n_groups = trial.n_groups;
  const std::vector<const PieceText*> prompts = prompts_of(trial.texts, n_groups);
  size_t longest = 0;
  for (const PieceText* text : prompts) longest = std::max(longest, text->lead.size());
  const auto room = int32_t(longest + kPromptTokens) + options.measured_tokens + 1;
  FATHOM_TRY(Session session,
             Session::make(model, {.max_tokens = std::min(room, model.config().context), .threads = options.threads}));
  FATHOM_TRY(trial.parts.attach(session, trial.group));
  std::vector<std::vector<double>> each(policies.size());  // [policies][prompts] seconds a token
  std::vector<std::vector<double>> first(n_groups);
  Speeds out;
  out.continuations.resize(n_groups);
  for (size_t g = 0; g < n_groups; ++g) out.continuations[g].group = int32_t(g);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds_gone = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (size_t p = 0; p < prompts.size() && (p < kFewestPrompts || seconds_gone() < trial.seconds); ++p) {
    const std::vector<int32_t> prompt = prompt_of(*prompts[p]);
    std::vector<std::vector<int32_t>> written(policies.size());
    std::vector<double> seconds(policies.size());
    bool whole = true;
    for (size_t k = 0; k < policies.size(); ++k) {
      const size_t i = (k + p) % policies.size();  // turns
      FATHOM_TRY(const Policy policy, Policy::parse(policies[i]));
      FATHOM_TRY(
          Generation text,
          generate(session, prompt,
                   {.max_new_tokens = options.measured_tokens, .sample = sample_of(options, p), .policy = policy}));
      seconds[i] = text.decoded > 0 ? text.decode_seconds / text.decoded : 0;
      whole &= text.decoded >= kFewestTokens;
      written[i] = std::move(text.tokens);
    }
    const auto& full = written.front();
    const auto& own = written.back();
    Continuations& of = out.continuations[size_t(prompts[p]->group)];
    ++of.n;
    of.equal += full == own;
    of.tokens = options.measured_tokens;
    first[size_t(of.group)].push_back(first_difference(full, own));
    if (whole) {
      for (size_t i = 0; i < policies.size(); ++i) each[i].push_back(seconds[i]);
    }
    FATHOM_TRY(progress.at(double(p + 1) / double(prompts.size())));
  }
  for (Continuations& of : out.continuations) of.median_first_difference = median(first[size_t(of.group)]);
  for (size_t i = 0; i < policies.size() && !each[i].empty(); ++i) {
    double sum = 0;
    for (const double x : each[i]) sum += x;
    FATHOM_TRY(const Policy policy, Policy::parse(policies[i]));
    out.speeds.push_back({policies[i], is_lossless(policy), 1e3 * sum / double(each[i].size()),
                          ratio_of(each[0], each[i]), ratio_of(each[1], each[i])});
  }
  return out;
}

}  // namespace fathom
