// Losses: a token, or what tokens are drawn from.
#include "src/calibrate/loss.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fathom/calibrate/limits.h"

namespace fathom {
namespace {

struct Softmax {
  std::vector<float> exponentials;  // of (logit - max) / temperature
  double sum = 0;
};

Softmax softmax(std::span<const float> logits, float max, double temperature) {
  Softmax of{.exponentials = std::vector<float>(logits.size())};
  for (size_t i = 0; i < logits.size(); ++i) {
    of.exponentials[i] = std::exp(static_cast<float>((double{logits[i]} - max) / temperature));
    of.sum += of.exponentials[i];
  }
  return of;
}

double total_variation(const Softmax& p, const Softmax& q) {
  double sum = 0;
  for (size_t i = 0; i < p.exponentials.size(); ++i) {
    sum += std::abs(p.exponentials[i] / p.sum - q.exponentials[i] / q.sum);
  }
  return std::min(1.0, sum / 2);
}

}  // namespace

double total_variation(std::span<const float> a, std::span<const float> b, double temperature) {
  FATHOM_ASSERT(!a.empty() && a.size() == b.size());
  return total_variation(softmax(a, *std::max_element(a.begin(), a.end()), temperature),
                         softmax(b, *std::max_element(b.begin(), b.end()), temperature));
}

Result<void> Loss::check() const {
  if (temperature_ >= 0 && temperature_ <= kMostTemperature) return {};
  return Error{ErrorCode::argument,
               fmt::format("temperature {}: give 0 (greedy tokens) to {:g}", temperature_, kMostTemperature)};
}

float Loss::operator()(const Answer& full, const Answer& early) const {
  if (!compares_logits()) return full.best == early.best ? 0.0f : 1.0f;
  FATHOM_ASSERT(!full.logits.empty() && full.logits.size() == early.logits.size());
  return static_cast<float>(
      total_variation(softmax(full.logits, full.max, temperature_), softmax(early.logits, early.max, temperature_)));
}

float Loss::target(const Answer& full, const Answer& early) const {
  if (!compares_logits()) return early.logits[static_cast<size_t>(full.best)];
  const Softmax p = softmax(full.logits, full.max, temperature_);
  double sum = 0;
  for (size_t i = 0; i < early.logits.size(); ++i) {
    if (p.exponentials[i] > 0)
      sum += p.exponentials[i] * double{early.logits[i]};  // 0 of what is forbidden is no number
  }
  return static_cast<float>(sum / p.sum / temperature_);
}

std::string Loss::harmless(double risk) const {
  if (!compares_logits()) return "is full depth's";
  return fmt::format("moves at most {:g} % of full depth's probability", 100 * risk);
}

std::string Loss::claim(double risk) const {
  if (!compares_logits()) return fmt::format("at most {:.12g} % of tokens differ", 100 * risk);
  return fmt::format(
      "the distribution at temperature {:.12g} that a token is drawn from differs by at most {:.12g} % in total "
      "variation on average",
      temperature_, 100 * risk);
}

std::string Loss::consequence(double risk) const {
  if (!compares_logits()) return {};
  return fmt::format("; tokens of one seed may then differ in up to {:.3g} % of the places",
                     100 * differing_share(risk));
}

}  // namespace fathom
