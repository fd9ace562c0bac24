// KvCache: keys and values of every layer and position, in pages of 64 positions, with the provenance of each cell.
// Next in the flow: engine/layer_loop.h, which writes and reads it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/model/config.h"
#include "fathom/ops/kernel_table.h"

namespace fathom {

/// How a cell of (layer, position) came to be. The order is the order of trust.
enum class Provenance : uint8_t {
  missing,  ///< never written: a hole, which no step leaves behind
  owed,     ///< a stand-in, until its row runs the layers it owes
  filled,   ///< projected from a state that full depth would not have had here, by a row that did not attend
  inexact,  ///< the same by a row that attended
  exact,    ///< bit for bit what full depth writes; also in the first layer that a row skips, whose input is right
};

/// Storage for `sequences` sequences of up to `max_tokens` positions. Pages are made when positions are reserved.
class FATHOM_API KvCache {
 public:
  /// An empty cache.
  ///   errors   argument: type other than F16, BF16 or F32, sizes below 1
  static Result<KvCache> make(const ModelConfig& config, DType type, int32_t max_tokens, int32_t sequences);

  /// Makes room for positions [0, positions) of a sequence.
  ///   errors   capacity: beyond max_tokens, or memory refused
  ///   cost     one allocation for each 64 new positions, zeroed
  Result<void> reserve(int32_t sequence, int32_t positions);

  /// Forgets positions from `positions` on; their pages are freed where a whole page falls empty.
  void truncate(int32_t sequence, int32_t positions) noexcept;

  /// Where (layer, position) lives; layers count from 1.
  KvCell cell(int32_t layer, int32_t sequence, int32_t position) noexcept;

  /// Pages of one layer of a sequence, page p at index p.
  const KvPage* const* pages(int32_t layer, int32_t sequence) const noexcept;

  /// Records that a cell now holds a value of this provenance.
  void mark(int32_t layer, int32_t sequence, int32_t position, Provenance provenance) noexcept;
  Provenance provenance(int32_t layer, int32_t sequence, int32_t position) const noexcept;

  /// Says for how many tokens a cell of an encoder stands, in the layer that is about to attend: as many as so many
  /// cells with its key would count.
  void weigh(int32_t layer, int32_t sequence, int32_t cell, float tokens) noexcept;

  /// True when some layer of the position has no value.
  bool has_hole(int32_t sequence, int32_t position) const noexcept;

  DType type() const noexcept { return type_; }
  int32_t max_tokens() const noexcept { return max_tokens_; }
  size_t bytes() const noexcept;  // of all pages

 private:
  // One page of every layer: the unit of allocation.
  struct Block {
    Buffer memory;
    std::vector<KvPage> layers;          // [n_layers]
    std::vector<Provenance> provenance;  // [n_layers, 64]
    std::vector<float> bias;             // [64] log tokens of each cell; empty: each stands for one
  };
  struct Sequence {
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<std::vector<const KvPage*>> pages;  // [n_layers][n_blocks]
  };
  Block& block(int32_t sequence, int32_t position) const noexcept;

  DType type_ = DType::f16;
  int32_t n_layers_ = 0;
  int32_t max_tokens_ = 0;
  bool one_layer_ =
      false;  // an encoder's: all layers share the memory of one, as each is read before the next is written
  std::vector<size_t> key_bytes_;  // [n_layers]  of one page's keys, and as much of its values
  size_t block_bytes_ = 0;
  std::vector<Sequence> sequences_;
};

}  // namespace fathom
