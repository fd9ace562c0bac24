// WorkModel: multiply-adds of each part of a row's way, the unit in which savings are counted.
// Next in the flow: engine/active_set.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fathom/model/config.h"

namespace fathom {

/// Multiply-adds that an attention half is spared: of its products, and for each cell of the row.
struct AttentionSaving {
  double project = 0, per_cell = 0;
};

/// Multiply-adds by layer and half. Norms, rotations and sums of residuals are not counted: under 1 % of a layer.
class WorkModel {
 public:
  WorkModel() = default;
  explicit WorkModel(const ModelConfig& config)
      : vocab_(config.vocab), head_(config.encodes() ? 0 : vocab_ * config.d_model), cosine_(3.0 * config.d_model) {
    const double d = config.d_model;
    for (const LayerSpec& spec : config.layers) {
      const double q = double(spec.heads) * spec.head_dim, kv = double(spec.kv_heads) * spec.head_dim;
      layers_.push_back({.project = d * (2 * q + 2 * kv),
                         .fill = d * 2 * kv,
                         .per_cell = 2 * q,
                         .feed_forward = (spec.gated ? 3 : 2) * d * spec.feed_forward,
                         .window = spec.window});
    }
    fill_above_.assign(layers_.size() + 1, 0);
    for (size_t l = layers_.size(); l > 0; --l) fill_above_[l - 1] = fill_above_[l] + layers_[l - 1].fill;
  }

  /// The attention half of a layer (from 1) for a row that sees cells up to that of `position`.
  double attention(int32_t layer, int32_t position, const AttentionSaving& saved = {}) const {
    const Part& p = layers_[static_cast<size_t>(layer - 1)];
    const int32_t cells = p.window > 0 ? std::min(position + 1, p.window) : position + 1;
    return p.project - saved.project + (p.per_cell - saved.per_cell) * cells;
  }
  double feed_forward(int32_t layer) const { return layers_[static_cast<size_t>(layer - 1)].feed_forward; }
  double layer(int32_t layer, int32_t position) const { return attention(layer, position) + feed_forward(layer); }
  /// Keys and values of one layer from a given state.
  double fill(int32_t layer) const { return layers_[static_cast<size_t>(layer - 1)].fill; }
  /// The same for all layers above `layer`.
  double fill_above(int32_t layer) const { return fill_above_[static_cast<size_t>(layer)]; }
  /// The cosine of two states.
  double cosine() const { return cosine_; }
  /// One cell's share of a row's attention in a layer.
  double attention_share(int32_t layer) const { return layers_[static_cast<size_t>(layer - 1)].per_cell / 2; }
  double head() const { return head_; }
  /// The head of so many tokens of the vocabulary.
  double head(int64_t tokens) const { return head_ / vocab_ * static_cast<double>(tokens); }
  /// A row at full depth, with its head where it predicts.
  double full(int32_t position, bool predicts) const {
    double sum = predicts ? head_ : 0;
    for (size_t l = 1; l <= layers_.size(); ++l) sum += layer(static_cast<int32_t>(l), position);
    return sum;
  }

 private:
  struct Part {
    double project, fill, per_cell, feed_forward;
    int32_t window;
  };
  std::vector<Part> layers_;
  std::vector<double> fill_above_;  // [n_layers + 1]
  double vocab_ = 1, head_ = 0, cosine_ = 0;
};

}  // namespace fathom
