// ExitHeads: what calibration fitted for leaving early: a translator of the state, a temperature, and how likely the
// answer is full depth's. Next in the flow: engine/layer_loop.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/agreement.h"
#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/model/model.h"
#include "fathom/ops/linear.h"

namespace fathom {

/// The logit of an answer's largest probability.
FATHOM_API float confidence_score(const LogitStats& stats) noexcept;

/// What agreement is judged by: a linear view of an exit's answer and of the state behind it.
struct AgreementProbe {
  std::vector<float> state;  // [d] weights of the state over its root mean square; empty: it is not looked at
  float confidence = 1;      // weights of confidence_score(), of log p(first) - log p(second), of the entropy in nats
  float margin = 0;
  float entropy = 0;
  float offset = 0;

  /// The score that an AgreementMap reads.
  ///   stats   of the answer at the exit's temperature
  ///   state   [d] before its translator
  ///   cost    2 d operations
  FATHOM_API float operator()(const LogitStats& stats, std::span<const float> state) const noexcept;
  bool operator==(const AgreementProbe&) const = default;
};

/// A hidden layer beside a translator of full rank, for what no affine map says: second gelu(first norm(state) +
/// offset) is added too. The norm has no weight, gelu its tanh form.
struct HiddenLayer {
  static constexpr float kEpsilon = 1e-6f;  // of the norm

  std::vector<float> first;   // [h, d] output by input; empty: none
  std::vector<float> offset;  // [h]
  std::vector<float> second;  // [d, h]

  bool operator==(const HiddenLayer&) const = default;
};

/// A KV translator: what kv(fill) projects the keys and values of a layer above an exit from. With s the state that a
/// row left with, over its root mean square, the layer's input over its own is taken for s + up down s + bias.
struct FittedFill {
  int32_t layer = 0;        // the exit's + 2 .. n_layers: the next layer's input is the state itself
  std::vector<float> down;  // [r, d] output by input
  std::vector<float> up;    // [d, r]
  std::vector<float> bias;  // [d]

  bool operator==(const FittedFill&) const = default;
};

/// The exit of one layer, as fitted.
struct FittedExit {
  int32_t layer = 0;                // 1 .. n_layers - 1
  std::vector<float> translator;    // [d, d] output by input: state + translator state + bias; empty: none
  std::vector<float> bias;          // [d]; empty with it
  std::vector<float> temperatures;  // [groups + 1] above 0; the last holds for all groups together
  AgreementProbe probe = {};
  std::vector<AgreementMap> agreement;  // [groups + 1] of the probe's score
  std::vector<float> up = {};  // [d, r] of low rank, with `translator` [r, d]: state + up translator state + bias
  HiddenLayer hidden = {};
  std::vector<FittedFill> fills = {};  // by layer; empty: cells above are filled from the state itself

  bool operator==(const FittedExit&) const = default;
};

/// All exits of a model, by layer, and the groups that they were fitted for.
struct FittedExits {
  std::vector<std::string> groups;
  std::vector<FittedExit> exits;
  std::vector<int32_t> shortlist = {};  // tokens that full depth is likely to say, likeliest first: screen_checks

  bool operator==(const FittedExits&) const = default;
};

/// Fitted exits made ready for a model: translators rounded to BF16 and packed for its kernels. Immutable, and shared
/// by sessions.
class FATHOM_API ExitHeads {
 public:
  struct Fill {
    int32_t layer = 0;
    Linear down, up;
    double multiplies = 0;
    std::vector<float> bias;
  };
  struct Exit {
    int32_t layer = 0;
    Linear translator;      // empty: the state as it is
    Linear up;              // behind it where its rank is low; empty: none
    Linear first, second;   // of a hidden layer; empty: none
    double multiplies = 0;  // of a translation
    std::vector<float> bias, offset;
    std::vector<float> temperatures;
    AgreementProbe probe;
    std::vector<AgreementMap> agreement;
    std::vector<Fill> fills;
    double fills_multiply = 0;  // all of them together

    /// What cells of a layer are filled through; null: nothing.
    const Fill* fill(int32_t of_layer) const noexcept {
      for (const Fill& f : fills) {
        if (f.layer == of_layer) return &f;
      }
      return nullptr;
    }

    /// How likely an answer is full depth's.
    float agreement_of(const LogitStats& stats, std::span<const float> state, int32_t group) const noexcept {
      return agreement[static_cast<size_t>(group)](probe(stats, state));
    }
  };

  /// Translators are multiplied by the kernels of the model's numeric path.
  ///   errors   argument: a layer twice, out of order or outside the model, a temperature that is not above 0,
  ///            a token of the shortlist outside the vocabulary;
  ///            shape: sizes that do not fit the model; capacity: memory refused
  ///   memory   2 d^2 bytes for each translator of full rank, 4 d r of rank r, KV translators too; 4 d h for a hidden
  ///            layer
  static Result<std::shared_ptr<const ExitHeads>> make(const Model& model, FittedExits fitted);

  /// What was fitted for a layer; null: nothing.
  const Exit* at(int32_t layer) const noexcept {
    return layer >= 0 && layer < static_cast<int32_t>(by_layer_.size()) ? by_layer_[static_cast<size_t>(layer)]
                                                                        : nullptr;
  }
  std::span<const Exit> all() const noexcept { return exits_; }
  int32_t d_model() const noexcept { return d_model_; }
  /// As many ones as the widest of states and hidden layers has numbers: weights of a norm that has none.
  const float* ones() const noexcept { return ones_.data(); }
  const std::vector<std::string>& groups() const noexcept { return groups_; }
  std::span<const int32_t> shortlist() const noexcept { return shortlist_; }
  /// The index of a group, of all groups together where the name is empty; -1: there is none of that name.
  int32_t group(std::string_view name) const noexcept;

 private:
  int32_t d_model_ = 0;
  std::vector<std::string> groups_;
  std::vector<int32_t> shortlist_;
  std::vector<float> ones_;
  std::vector<Exit> exits_;
  std::vector<const Exit*> by_layer_;  // [n_layers]
  Buffer packed_;
};

}  // namespace fathom
