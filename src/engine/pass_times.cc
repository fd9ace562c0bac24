// What passes cost by their rows.
#include "src/engine/pass_times.h"

#include <algorithm>
#include <cmath>

namespace fathom {
namespace {

constexpr double kKnown = 0.25;        // a factor with less weight is not trusted
constexpr double kFull = 20;           // weight at most: changes are followed within as many passes
constexpr double kFade = 0.998;        // of all weights by a pass, so that what was tried long ago is tried again
constexpr double kLevelGain = 0.2;     // share of a surprise that moves the level
constexpr double kSettled = 3;         // weight from which surprises are the level's rather than the factor's
constexpr double kSlowest = 0.9;       // log of how much slower than thought a factor hears a pass to be at most,
constexpr double kLevelSlowest = 0.5;  // and the level
constexpr double kSlow = 0.3;          // log; what is slower by more is not believed before it happens twice in a row
constexpr double kFast = 0.25;         // log; what is faster than thought by more shows that the thought was wrong
constexpr double kFastGain = 0.7;

bool usable(double seconds) { return std::isfinite(seconds) && seconds > 0; }

}  // namespace

// Rows that were not measured lie between the neighbours that were; little weight counts little. One row is the unit.
double PassTimes::Shape::log_factor(int32_t rows) const {
  const int32_t n = std::min(rows, kMaxRows);
  const auto known = [&](int32_t i) { return factors[static_cast<size_t>(i)].weight >= kKnown; };
  const auto log = [&](int32_t i) { return factors[static_cast<size_t>(i)].log; };
  if (n <= 1) return log(1);
  int32_t below = n - 1, above = n + 1;
  while (below > 1 && !known(below)) --below;
  while (above <= kMaxRows && !known(above)) ++above;
  double near = log(below);
  if (above <= kMaxRows) {
    const double share = std::log2(double(n) / below) / std::log2(double(above) / below);
    near += share * (log(above) - log(below));
  }
  if (!known(n)) return near;
  const double weight = factors[static_cast<size_t>(n)].weight;
  const double doubt = 0.5 / (weight * weight);
  return (log(n) + doubt * near) / (1 + doubt);
}

double PassTimes::confirm(int32_t rows) const {
  return std::max(1.0, expected(rows) * std::exp(confirm_.log_factor(rows)));
}

double PassTimes::settle(int32_t rows) const { return expected_settle(rows) * std::exp(settle_.log_factor(rows)); }

double PassTimes::own() const { return costs_.own * std::exp(own_.log); }

void PassTimes::learn_confirm(int32_t rows, double seconds) {
  if (!usable(seconds) || rows < 1) return;
  const double log_seconds = std::log(seconds);
  if (confirmed_ == 0) level_ = log_seconds - std::log(expected(rows));
  ++confirmed_;
  fade();
  if (rows == 1) {
    const double surprise = log_seconds - level_;
    if (confirm_.factors[1].believes(surprise)) move_level(surprise);
    return;
  }
  level_ = std::min(level_, log_seconds);  // more rows are not faster than one
  Factor& factor = confirm_.factors[static_cast<size_t>(std::min(rows, kMaxRows))];
  if (factor.weight < kKnown) factor.log = confirm_.log_factor(rows);
  learn(factor, std::log(expected(rows)), log_seconds);
}

void PassTimes::learn_own(double seconds) {
  if (usable(seconds) && confirmed_ > 0) learn(own_, std::log(costs_.own), std::log(seconds));
}

void PassTimes::learn_settle(int32_t rows, double seconds) {
  if (!usable(seconds) || rows < 1 || confirmed_ == 0) return;
  fade();
  Factor& factor = settle_.factors[static_cast<size_t>(std::min(rows, kMaxRows))];
  if (factor.weight < kKnown) factor.log = settle_.log_factor(rows);
  learn(factor, std::log(expected_settle(rows)), std::log(seconds));
}

bool PassTimes::Factor::believes(double surprise) {
  doubts = surprise > kSlow && !doubts;
  return !doubts;
}

// A factor that is known well leaves most of a surprise to the level.
void PassTimes::learn(Factor& factor, double log_expected, double log_seconds) {
  const double surprise = std::min(log_seconds - level_ - log_expected - factor.log, kSlowest);
  if (!factor.believes(surprise)) return;
  const double share = std::max(1 / (factor.weight + 1), surprise < -kFast ? kFastGain : 1 / kFull);
  if (factor.weight >= kSettled) move_level((1 - share) * surprise);
  factor.log += share * surprise;
  factor.weight = std::min(factor.weight + 1, kFull);
}

void PassTimes::move_level(double surprise) {
  const double share = surprise < -kFast ? kFastGain : kLevelGain;
  level_ += share * std::min(surprise, kLevelSlowest);
}

void PassTimes::fade() {
  for (Shape* shape : {&confirm_, &settle_}) {
    for (Factor& factor : shape->factors) factor.weight *= kFade;
  }
}

}  // namespace fathom
