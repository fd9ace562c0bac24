// GuessRate: how often guesses of one kind come true. Next in the flow: src/engine/goodput.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace fathom {

/// Counts that fade, within about 32 passes; within a few where a run of equal outcomes is longer than the rate so far
/// makes credible.
class GuessRate {
 public:
  /// Of a pass: so many came true, then one did not (or none was left to test).
  void learn(int32_t hits, bool missed) {
    if (hits <= 0 && !missed) return;
    fade(kFade);
    for (int32_t i = 0; i < hits; ++i) add(true);
    if (missed) add(false);
  }

  /// Of a pass that could have shown more than it did: what is known grows old.
  void forget() {
    fade(kFade);
    prior_ += 1 - kFade;
  }

  /// The rate, where `prior` was believed as much as `weight` guesses before the first; it fades as they do.
  double value(double prior, double weight) const {
    return (hits_ + prior * weight * prior_) / (hits_ + misses_ + weight * prior_);
  }

 private:
  static constexpr double kFade = 1 - 1.0 / 32;
  static constexpr double kCredible = 0.05;  // probability of a run under which the rate has changed:
  static constexpr double kChanged = 0.6;    // then all counts fade by this with each guess,
  static constexpr double kSureHit = 0.7;    // unless such outcomes were so frequent anyway, where a run says little
  static constexpr double kSureMiss = 0.85;  // and the few others are worth keeping

  void fade(double by) { hits_ *= by, misses_ *= by, prior_ *= by; }

  void add(bool hit) {
    if (hit != run_of_ || run_ == 0) {
      run_of_ = hit;
      run_ = 0;
      const double rate = value(0.5, 1);
      before_ = hit ? rate : 1 - rate;
    }
    ++run_;
    if (run_ >= 2 && before_ < (hit ? kSureHit : kSureMiss) && std::pow(before_, run_) < kCredible) fade(kChanged);
    (hit ? hits_ : misses_) += 1;
  }

  double hits_ = 0, misses_ = 0;  // fading
  double prior_ = 1;              // share that is left of it
  int32_t run_ = 0;               // equal outcomes so far
  bool run_of_ = false;           // which
  double before_ = 0.5;           // probability of one such outcome when the run began
};

}  // namespace fathom
