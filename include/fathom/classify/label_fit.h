// Linear label classifiers by L-BFGS: one label of many (softmax), or any of several (a sigmoid each).
// Next in the flow: classify/label_heads.h, which holds what comes out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/classify/word_head.h"
#include "fathom/core/result.h"

namespace fathom {

/// Rows of features, dense or sparse.
struct FeatureRows {
  int64_t n = 0;
  int32_t features = 0;
  std::span<const float> dense = {};                     // [n, features]; empty: sparse
  std::span<const std::vector<SparseTerm>> sparse = {};  // [n]
};

/// logits = weights features + bias.
struct LinearLabels {
  int32_t labels = 0;
  std::vector<float> weights;  // [labels, features]
  std::vector<float> bias;     // [labels]

  FATHOM_API void operator()(std::span<const float> features, std::span<float> logits) const;
  FATHOM_API void operator()(std::span<const SparseTerm> features, std::span<float> logits) const;
  bool operator==(const LinearLabels&) const = default;
};

struct LabelFitOptions {
  bool several = false;  // a row has any number of labels, each a yes or no of its own
  float l2 = 1e-4f;      // of the mean loss, on weights of the features as they are scaled inside; the bias is free
  int32_t most_steps = 200;
};

/// Minimises mean cross-entropy + l2 / 2 |w|^2. Dense features are standardised inside; the result reads raw ones.
///   targets  [n, labels]  how likely a row has the label, 0 or 1 where that is known; they sum to 1 unless `several`
///   errors   argument: no rows, no labels, a feature that is not finite; shape: sizes that do not fit
///   cost     about 100 passes over rows, features and labels; memory 20 copies of the weights in doubles, and one of
///   dense rows source   Nocedal, Wright 2006, algorithm 7.4 (L-BFGS) and 3.1 (backtracking)
FATHOM_API Result<LinearLabels> fit_labels(const FeatureRows& rows, std::span<const float> targets, int32_t labels,
                                           const LabelFitOptions& options = {});

/// Logits of one text become how likely each label is: they sum to 1, or with `several` each stands by itself.
FATHOM_API void label_probabilities(std::span<float> logits, float temperature, bool several);

/// Mean cross-entropy of a row's labels, nats; with `several`, summed over labels.
FATHOM_API double label_loss(std::span<const float> logits, std::span<const float> targets, int32_t labels,
                             bool several, float temperature = 1);

/// The temperature of least label_loss(), from 1/8 to 8, by golden sections in its logarithm.
FATHOM_API float fit_label_temperature(std::span<const float> logits, std::span<const float> targets, int32_t labels,
                                       bool several);

}  // namespace fathom
