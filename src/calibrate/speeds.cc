// Speeds: ratios of one prompt are pairs, and prompts are what the interval is over.
#include "src/calibrate/speeds.h"

#include <algorithm>
#include <cmath>

#include "fathom/engine/generate.h"

namespace fathom {
namespace {

constexpr size_t kPrompts = 16;       // at most, evenly over groups
constexpr size_t kPromptTokens = 32;  // of a piece, in front of what is written

// Mean of logarithms with its 95 % interval.
SpeedRatio ratio_of(const std::vector<double>& logs) {
  const double n = double(logs.size());
  double mean = 0, square = 0;
  for (const double x : logs) mean += x / n;
  for (const double x : logs) square += (x - mean) * (x - mean);
  const double half = n > 1 ? 1.96 * std::sqrt(square / (n - 1) / n) : std::log(2.0);
  return {std::exp(mean), std::exp(mean - half), std::exp(mean + half)};
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

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Result<Speeds> measure_speeds(const Model& model, std::span<const PieceText* const> texts, size_t n_groups,
                              std::span<const std::string> policies, const std::shared_ptr<const ExitHeads>& exits,
                              const CalibrateOptions& options, Progress& progress) {
  const std::vector<const PieceText*> prompts = prompts_of(texts, n_groups);
  size_t longest = 0;
  for (const PieceText* text : prompts) longest = std::max(longest, text->lead.size());
  const auto room = int32_t(longest + kPromptTokens) + options.measured_tokens + 1;
  FATHOM_TRY(Session session,
             Session::make(model, {.max_tokens = std::min(room, model.config().context), .threads = options.threads}));
  FATHOM_TRY(session.use(exits));
  progress.begin("measuring speed", 0.1);
  std::vector<std::vector<double>> logs(policies.size());  // of seconds a token
  std::vector<std::vector<double>> first(n_groups);
  Speeds out;
  out.continuations.resize(n_groups);
  for (size_t g = 0; g < n_groups; ++g) out.continuations[g].group = int32_t(g);
  for (size_t p = 0; p < prompts.size(); ++p) {
    std::vector<int32_t> prompt = prompts[p]->lead;
    prompt.insert(prompt.end(), prompts[p]->tokens.begin(),
                  prompts[p]->tokens.begin() + std::ptrdiff_t(std::min(kPromptTokens, prompts[p]->tokens.size())));
    std::vector<std::vector<int32_t>> written(policies.size());
    std::vector<double> seconds(policies.size());
    bool whole = true;
    for (size_t k = 0; k < policies.size(); ++k) {
      const size_t i = (k + p) % policies.size();  // turns
      FATHOM_TRY(const Policy policy, Policy::parse(policies[i]));
      FATHOM_TRY(Generation text,
                 generate(session, prompt, {.max_new_tokens = options.measured_tokens, .policy = policy}));
      seconds[i] = text.decoded > 0 ? text.decode_seconds / text.decoded : 0;
      whole &= text.decoded >= 4;
      written[i] = std::move(text.tokens);
    }
    const auto& full = written.front();
    const auto& own = written.back();
    const auto same =
        std::mismatch(full.begin(), full.begin() + std::ptrdiff_t(std::min(full.size(), own.size())), own.begin());
    Continuations& of = out.continuations[size_t(prompts[p]->group)];
    ++of.n;
    of.equal += full == own;
    of.tokens = options.measured_tokens;
    first[size_t(of.group)].push_back(double(same.first - full.begin()));
    if (whole) {
      for (size_t i = 0; i < policies.size(); ++i) logs[i].push_back(std::log(seconds[i]));
    }
    FATHOM_TRY(progress.at(double(p + 1) / double(prompts.size())));
  }
  for (Continuations& of : out.continuations) of.median_first_difference = median(first[size_t(of.group)]);
  const auto over = [&](size_t i, size_t base) {
    std::vector<double> ratios(logs[i].size());
    for (size_t k = 0; k < ratios.size(); ++k) ratios[k] = logs[base][k] - logs[i][k];
    return ratio_of(ratios);
  };
  for (size_t i = 0; i < policies.size() && !logs[i].empty(); ++i) {
    double mean = 0;
    for (const double x : logs[i]) mean += x / double(logs[i].size());
    out.speeds.push_back({policies[i], 1e3 * std::exp(mean), over(i, 0), over(i, 1)});
  }
  return out;
}

}  // namespace fathom
