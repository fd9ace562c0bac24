// What heads say, and whether they fit a model. Next: label_parts.cc, heads as bytes.
#include "fathom/classify/label_heads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace fathom {
namespace {

Error wrong(ErrorCode code, std::string_view what) {
  return {code, fmt::format("label heads: {}: train the task again", what)};
}

double logit_of(double p) {
  constexpr double kMost = 1 - 1e-7;
  p = std::clamp(p, 1 - kMost, kMost);
  return std::log(p / (1 - p));
}

// log(p / q) of the best answer and the next. As scores of whether an answer is full depth's, on 4,614 sections and
// 7,920 terms of bench/classify at 2 %: with the logit, work .579 and .739; the logit alone .598 and .748, the ratio
// .574 and .747.
double log_ratio(double p, double q) { return std::log(std::max(p, 1e-7) / std::max(q, 1e-7)); }

// -p log p, nats.
double surprise(double p) { return p > 0 ? -p * std::log(p) : 0; }

void tell_one(LabelAnswer& answer) {
  const auto& p = answer.probability;
  const auto first = std::max_element(p.begin(), p.end());
  double second = 0, entropy = 0;
  for (auto at = p.begin(); at != p.end(); ++at) {
    entropy += surprise(*at);
    if (at != first) second = std::max(second, static_cast<double>(*at));
  }
  answer.best = static_cast<int32_t>(first - p.begin());
  answer.confidence = *first;
  answer.margin = static_cast<float>(*first - second);
  answer.entropy = static_cast<float>(entropy);
  answer.score = static_cast<float>(logit_of(*first) + log_ratio(*first, second));
}

// Labels are independent: the answer as a whole is right where each is; the next best differs in the least sure one.
void tell_several(LabelAnswer& answer) {
  double whole = 1, entropy = 0, least = 1;
  for (const float p : answer.probability) {
    const double sure = std::max<double>(p, 1 - p);
    whole *= sure;
    least = std::min(least, sure);
    entropy += surprise(p) + surprise(1 - p);
  }
  answer.best = static_cast<int32_t>(std::max_element(answer.probability.begin(), answer.probability.end()) -
                                     answer.probability.begin());
  answer.confidence = static_cast<float>(whole);
  answer.margin = static_cast<float>(whole - whole / least * (1 - least));
  answer.entropy = static_cast<float>(entropy);
  answer.score = static_cast<float>(logit_of(whole) + log_ratio(least, 1 - least));
}

Result<void> check_head(const FittedLabelHead& head, const FittedLabels& all, const ModelConfig& config) {
  const size_t n = all.labels.size();
  const size_t features = head.layer == 0 ? all.words.buckets.size() : static_cast<size_t>(config.d_model);
  if (head.linear.labels != static_cast<int32_t>(n) || head.linear.bias.size() != n ||
      head.linear.weights.size() != n * features) {
    return wrong(ErrorCode::shape,
                 fmt::format("depth {}: {} weights and {} biases for {} labels of {} features", head.layer,
                             head.linear.weights.size(), head.linear.bias.size(), n, features));
  }
  if (!(head.temperature > 0) || !std::isfinite(head.temperature)) {
    return wrong(ErrorCode::argument, fmt::format("depth {}: temperature {:g}", head.layer, head.temperature));
  }
  const auto finite = [](const std::vector<float>& values) {
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
  };
  if (!finite(head.linear.weights) || !finite(head.linear.bias)) {
    return wrong(ErrorCode::argument, fmt::format("depth {}: a weight is no finite number", head.layer));
  }
  return {};
}

Result<void> check_words(const WordFeatures& words) {
  for (size_t i = 0; i < words.buckets.size(); ++i) {
    const int32_t bucket = words.buckets[i], before = i > 0 ? words.buckets[i - 1] : -1;
    if (bucket > before && bucket < WordFeatures::kBuckets) continue;
    return wrong(ErrorCode::argument, fmt::format("bucket {} behind {} of {}", bucket, before, WordFeatures::kBuckets));
  }
  const bool fits = words.rarity.size() == words.buckets.size() &&
                    std::all_of(words.rarity.begin(), words.rarity.end(), [](float x) { return std::isfinite(x); });
  return fits ? Result<void>() : wrong(ErrorCode::shape, "weights of words that do not fit them");
}

}  // namespace

std::vector<int32_t> LabelAnswer::labels(bool several) const {
  if (!several) return {best};
  std::vector<int32_t> all;
  for (size_t i = 0; i < probability.size(); ++i) {
    if (probability[i] > 0.5f) all.push_back(static_cast<int32_t>(i));
  }
  return all;
}

bool LabelAnswer::same(const LabelAnswer& other, bool several) const noexcept {
  if (!several) return best == other.best;
  for (size_t i = 0; i < probability.size(); ++i) {
    if ((probability[i] > 0.5f) != (other.probability[i] > 0.5f)) return false;
  }
  return true;
}

Result<std::shared_ptr<const LabelHeads>> LabelHeads::make(const ModelConfig& config, FittedLabels fitted) {
  const size_t n = fitted.labels.size();
  if (n < 1 || n > static_cast<size_t>(kMostLabels)) {
    return wrong(ErrorCode::argument, fmt::format("{} labels, 1 to {} are read", n, kMostLabels));
  }
  if (std::set<std::string>(fitted.labels.begin(), fitted.labels.end()).size() != n) {
    return wrong(ErrorCode::argument, "a label stands there twice");
  }
  FATHOM_TRY(check_words(fitted.words));
  int32_t before = -1;
  for (const FittedLabelHead& head : fitted.heads) {
    if (head.layer <= before || head.layer > config.n_layers) {
      return wrong(ErrorCode::argument,
                   fmt::format("depth {} behind {} in a model of {} layers", head.layer, before, config.n_layers));
    }
    before = head.layer;
    FATHOM_TRY(check_head(head, fitted, config));
  }
  if (before != config.n_layers) {
    return wrong(ErrorCode::argument, fmt::format("none at full depth, {} layers", config.n_layers));
  }
  return std::shared_ptr<const LabelHeads>(new LabelHeads(std::move(fitted), config));
}

LabelHeads::LabelHeads(FittedLabels fitted, const ModelConfig& config)
    : fitted_(std::move(fitted)),
      d_model_(config.d_model),
      by_layer_(static_cast<size_t>(config.n_layers) + 1, nullptr) {
  for (const FittedLabelHead& head : fitted_.heads) by_layer_[static_cast<size_t>(head.layer)] = &head;
}

LabelAnswer LabelHeads::said(std::vector<float> logits, float temperature) const {
  LabelAnswer answer;
  label_probabilities(logits, temperature, fitted_.several);
  answer.probability = std::move(logits);
  fitted_.several ? tell_several(answer) : tell_one(answer);
  return answer;
}

LabelAnswer LabelHeads::answer(const FittedLabelHead& head, std::span<const float> mean) const {
  std::vector<float> logits(fitted_.labels.size());
  head.linear(mean, logits);
  return said(std::move(logits), head.temperature);
}

LabelAnswer LabelHeads::answer_words(std::span<const int32_t> ids) const {
  const FittedLabelHead& head = *by_layer_[0];
  std::vector<float> logits(fitted_.labels.size());
  head.linear(fitted_.words(ids), logits);
  return said(std::move(logits), head.temperature);
}

}  // namespace fathom
