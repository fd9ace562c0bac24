// RopeTables: cosines and sines of a step's positions, one table for each distinct rotation of a model.
// Next in the flow: engine/step_buffers.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/threads.h"
#include "fathom/engine/active_set.h"
#include "fathom/model/config.h"

namespace fathom {

/// Angles are products in double precision, so that a position far from 0 keeps its phase.
class RopeTables {
 public:
  RopeTables() = default;
  /// Frequencies base^(-2i / dim), divided by the file's factors and by the layer's position scale.
  explicit RopeTables(const ModelConfig& config);

  /// Fills the tables for the rows of a step, rows in parallel where there are many.
  ///   cost   rows * rope_dim / 2 sines and cosines for each distinct rotation
  void fill(ThreadPool& pool, std::span<const RowState> rows);

  /// Cosine and sine pairs of the listed rows for a layer (from 1): [which, rope_dim / 2, 2].
  /// Borrowed from the table where the list is all rows in order, else gathered into scratch.
  const float* of(int32_t layer, std::span<const int32_t> which);

 private:
  struct Table {
    float base, scale;
    int32_t dim;
    std::vector<double> frequencies;  // [dim / 2]
    std::vector<float> cos_sin;       // [rows, dim / 2, 2]
  };
  std::vector<Table> tables_;
  std::vector<int32_t> of_layer_;  // [n_layers] index into tables_
  std::vector<float> gathered_;
  size_t n_rows_ = 0;
};

}  // namespace fathom
