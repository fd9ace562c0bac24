// LabelHeads: what says a text's label with 0, 1 .. n layers behind it, and how likely that is what full depth says.
// Next in the flow: classify/classifier.h, which runs texts; engine/boundary.h, where heads answer between layers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/agreement.h"
#include "fathom/classify/label_fit.h"
#include "fathom/classify/labelled.h"
#include "fathom/classify/word_head.h"
#include "fathom/core/result.h"
#include "fathom/model/config.h"

namespace fathom {

/// The head of one depth.
struct FittedLabelHead {
  int32_t layer = 0;            // layers behind it; 0: it reads words, and no layer runs
  LinearLabels linear;          // of the mean of a text's states, or of its words
  float temperature = 1;        // divides logits
  AgreementMap agreement = {};  // of an answer's score: how likely its label is full depth's

  bool operator==(const FittedLabelHead&) const = default;
};

/// All heads of a task, by layer; the last is full depth's.
struct FittedLabels {
  std::vector<std::string> labels;
  bool several = false;  // a text has any number of them
  WordFeatures words = {};
  std::vector<FittedLabelHead> heads = {};

  bool operator==(const FittedLabels&) const = default;
};

/// What a head says of a text.
struct LabelAnswer {
  std::vector<float> probability;  // [labels]; they sum to 1 unless a text may have several
  int32_t best = 0;                // the likeliest label
  float confidence = 0;            // probability of the answer as a whole
  float margin = 0;                // less that of the next best answer
  float entropy = 0;               // nats
  float score = 0;                 // logit of `confidence` + log of its ratio to the next best's; AgreementMap reads it

  /// Indices of what it says: the best label, or with several all above a half.
  FATHOM_API std::vector<int32_t> labels(bool several) const;
  /// Whether both say the same.
  FATHOM_API bool same(const LabelAnswer& other, bool several) const noexcept;
};

class FATHOM_API LabelHeads {
 public:
  LabelHeads(const LabelHeads&) = delete;
  LabelHeads& operator=(const LabelHeads&) = delete;

  /// Checks heads against a model.
  ///   errors   argument: layers that do not rise, no head at full depth, a temperature that is not above 0, labels
  ///            twice or too many; shape: sizes that do not fit labels, features and the model's width
  static Result<std::shared_ptr<const LabelHeads>> make(const ModelConfig& config, FittedLabels fitted);

  /// The head with so many layers behind it; null: there is none.
  const FittedLabelHead* at(int32_t layer) const noexcept {
    return layer >= 0 && layer < static_cast<int32_t>(by_layer_.size()) ? by_layer_[static_cast<size_t>(layer)]
                                                                        : nullptr;
  }
  /// What a head of a layer above 0 says.
  ///   mean   [d] of the text's states
  ///   cost   labels * d multiply-adds
  LabelAnswer answer(const FittedLabelHead& head, std::span<const float> mean) const;
  /// What the head of depth 0 says, from a text's ids without those around it.
  LabelAnswer answer_words(std::span<const int32_t> ids) const;
  /// How likely the answer is full depth's; 1 at full depth.
  float agreement(const FittedLabelHead& head, const LabelAnswer& answer) const noexcept {
    return head.layer == full_layer() ? 1.0f : head.agreement(answer.score);
  }

  const FittedLabels& fitted() const noexcept { return fitted_; }
  bool several() const noexcept { return fitted_.several; }
  int32_t n_labels() const noexcept { return static_cast<int32_t>(fitted_.labels.size()); }
  int32_t full_layer() const noexcept { return fitted_.heads.back().layer; }
  int32_t d_model() const noexcept { return d_model_; }

 private:
  LabelHeads(FittedLabels fitted, const ModelConfig& config);
  LabelAnswer said(std::vector<float> logits, float temperature) const;

  FittedLabels fitted_;
  int32_t d_model_;
  std::vector<const FittedLabelHead*> by_layer_;  // [n_layers + 1]
};

/// Heads as the bytes of a sidecar's section, little endian.
FATHOM_API std::vector<std::byte> label_bytes(const FittedLabels& labels);

/// Heads of such bytes, which may come from anywhere; LabelHeads::make() says whether they fit a model.
///   errors   format: cut off, counts beyond their limits, bytes left over; unsupported: another format
FATHOM_API Result<FittedLabels> read_labels(std::span<const std::byte> bytes);

}  // namespace fathom
