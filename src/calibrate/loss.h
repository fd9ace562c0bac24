// Loss: how far a policy's answer at one place is from full depth's, from 0 to 1. Certificates bound its mean, and
// settings are proposed by it. Next in the flow: src/calibrate/reference.h, which has full depth's answers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/calibrate.h"
#include "fathom/core/result.h"

namespace fathom {

/// What is said at one place, by full depth or by a policy.
struct Answer {
  int32_t best = -1;                   // argmax of the logits
  float max = 0;                       // their largest
  std::span<const float> logits = {};  // [vocab]; may be empty where the loss looks at `best` alone
};

/// Total variation between the distributions that tokens are drawn from: half the sum of |p - q|, p and q the softmax
/// of logits / temperature. Rows of the same bits have 0.
///   temperature  above 0
///   returns      [0, 1], within 2e-6: an exponential in f32 is off by (|x| + 2) 2^-24, where x, from the largest logit
///                down, has a mean of at most the log of the vocabulary; sums are f64
///   cost         two exponentials a token
double total_variation(std::span<const float> a, std::span<const float> b, double temperature);

/// A value that everything asks that compares with full depth: what a loss is stands here and nowhere else. A further
/// one (an encoder's label, the cosine of two embeddings) is a further case of each member.
class Loss {
 public:
  /// At temperature 0 the token: 1 where it is another one. Above, total variation of what tokens are drawn from.
  ///   temperature  as check() takes it
  explicit Loss(double temperature = 0) : temperature_(temperature) {}

  ///   errors   argument: a temperature outside 0 to kMostTemperature
  Result<void> check() const;

  double temperature() const { return temperature_; }

  /// Whether answers are compared logit by logit. Else their best token is enough, which can be kept of whole texts.
  bool compares_logits() const { return temperature_ > 0; }

  /// Of one place.
  float operator()(const Answer& full, const Answer& early) const;

  /// By what logits are divided before a token is chosen.
  double divisor() const { return compares_logits() ? temperature_ : 1; }
  /// What divided logits are fitted to: their mean over what full depth says, its token or its distribution. Their
  /// log-sum less this is the cross-entropy.
  ///   early    with logits
  float target(const Answer& full, const Answer& early) const;

  /// What a mean loss is a share of: "tokens", "probability".
  std::string_view of_what() const { return compares_logits() ? "probability" : "tokens"; }
  /// What is said of an answer that loses at most `risk`: "is full depth's".
  std::string harmless(double risk) const;
  /// What a certificate promises: "at most 2 % of tokens differ".
  std::string claim(double risk) const;
  /// What follows from it, to stand behind it; may be empty.
  std::string consequence(double risk) const;

 private:
  double temperature_;
};

/// Places of one seed whose tokens may differ on average, where total variation is `mean` on average: noise that hangs
/// on the token's id alone couples two draws that well at each place, and the function is concave, so that it bounds
/// the mean as well.
///   source   Daliri, Musco, Suresh 2025 (Gumbel noise); Bavarian et al. 2020 (without words no coupling does better)
constexpr double differing_share(double mean) { return 2 * mean / (1 + mean); }

}  // namespace fathom
