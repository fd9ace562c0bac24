// PassTimes: what passes cost by their rows, in units of a pass of one row. Next in the flow: src/engine/guess_rate.h.
#pragma once

#include <array>
#include <cstdint>

#include "fathom/engine/pass_costs.h"

namespace fathom {

/// Cost of passes by rows, learned from their seconds: a common level times a shape. A machine that becomes slower, a
/// context that grows, move the level; the shape keeps what rows cost against each other, and only that is asked for.
/// One slow pass says little (the machine may have been busy), one fast pass much.
class PassTimes {
 public:
  /// What is believed before it is measured.
  explicit PassTimes(const PassCosts& costs = {}) : costs_(costs) {}

  /// A pass at full depth. Seconds that are not positive and finite are not heard.
  void learn_confirm(int32_t rows, double seconds);

  /// A row drafted under savings.
  void learn_own(double seconds);

  /// A pass that settles such rows.
  void learn_settle(int32_t rows, double seconds);

  /// Passes at full depth that were heard.
  int64_t confirmed() const { return confirmed_; }

  double confirm(int32_t rows) const;
  double settle(int32_t rows) const;
  double own() const;

 private:
  // What one kind of pass costs against what was expected of it.
  struct Factor {
    double log = 0;       // of measured / expected
    double weight = 0;    // passes behind it, fading
    bool doubts = false;  // the last pass was so slow that it was not believed
    bool believes(double surprise);
  };
  static constexpr int32_t kMaxRows = 64;  // more rows: as 64 do, by the expectation
  struct Shape {
    std::array<Factor, kMaxRows + 1> factors = {};  // [rows]
    double log_factor(int32_t rows) const;
  };

  double expected(int32_t rows) const { return PassCosts::at(costs_.confirm, rows); }
  double expected_settle(int32_t rows) const { return PassCosts::at(costs_.settle, rows); }
  void learn(Factor& factor, double log_expected, double log_seconds);
  void move_level(double surprise);
  void fade();

  PassCosts costs_;
  int64_t confirmed_ = 0;
  double level_ = 0;  // log seconds of a pass of one row
  Shape confirm_, settle_;
  Factor own_;
};

}  // namespace fathom
