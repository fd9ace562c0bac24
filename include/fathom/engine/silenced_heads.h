// SilencedHeads: what is left to read of layers of which some query heads say nothing.
// Next in the flow: src/engine/silenced_heads.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/engine/work.h"
#include "fathom/model/model.h"
#include "fathom/policy/head_set.h"

namespace fathom {

struct LayerLoop;

/// Made once for a list of heads. With factor 0, panels of q and blocks of o's columns that only silent heads need are
/// left out of copies of the two, and the cells of KV groups in which no head speaks are passed by. Every bit is that
/// of a layer in which the silent heads' columns of o are zeros, whatever could be left out.
class SilencedHeads {
 public:
  class Layer {
   public:
    /// q of rows [first, first + n) of those that attend, from what is normed for them. Silent heads ask with zeros.
    void ask(LayerLoop& loop, int64_t first, int64_t n) const;
    /// KV heads whose cells are read.
    std::span<const uint8_t> listened() const { return listened_; }  // [kv_heads]
    /// Their output, from what attention has mixed, to StepBuffers::projected.
    void tell(LayerLoop& loop, int64_t first, int64_t n) const;
    /// Multiply-adds that are not done.
    const AttentionSaving& saving() const { return saving_; }
    /// Bytes of q and o that are read.
    size_t bytes() const { return (q_.empty() ? 0 : q_.packed_bytes) + (o_.empty() ? 0 : o_.packed_bytes); }

   private:
    friend class SilencedHeads;
    void keep_all(const LayerWeights& weights);
    Result<void> keep_spoken(const LayerSpec& spec, const LayerWeights& weights);
    void gather(const LayerWeights& weights, size_t panel_bytes, size_t block_bytes);

    int32_t layer_ = 0;
    float factor_ = 0;
    std::vector<uint8_t> silent_;    // [heads]
    std::vector<uint8_t> listened_;  // [kv_heads]
    Linear q_, o_;                   // what is read of them; empty: nothing
    int64_t panel_ = 1, block_ = 1;  // outputs of q, inputs of o that are kept or left out together
    std::vector<int32_t> panels_;    // of q that are kept, ascending
    std::vector<int32_t> blocks_;    // of o's inputs
    std::vector<float> bias_;        // of the kept outputs of q
    Buffer q_packed_, o_packed_;
    AttentionSaving saving_;
  };

  /// Copies what speaks.
  ///   errors   argument: a layer or head that the model lacks; capacity: memory refused
  ///   cost     of memory, with factor 0, q and o of the named layers without their silent heads
  static Result<SilencedHeads> make(const Model& model, const HeadSet& heads, float factor);

  /// A layer of which some heads are named; null: none is.
  const Layer* of(int32_t layer) const {
    const auto& found = layers_[static_cast<size_t>(layer - 1)];
    return found ? &*found : nullptr;
  }
  bool is_of(const HeadSet& heads, float factor) const { return factor_ == factor && heads_ == heads; }

 private:
  HeadSet heads_;
  float factor_ = 0;
  std::vector<std::optional<Layer>> layers_;  // [n_layers]
};

}  // namespace fathom
