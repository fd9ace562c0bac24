// Weights: the packed matrices and vectors of a model, by layer. Next in the flow: model/model.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fathom/core/tensor.h"
#include "fathom/ops/linear.h"

namespace fathom {

/// One block's weights. Vectors are f32; those a family lacks are null.
struct LayerWeights {
  Linear q, k, v, o;      // [heads * head_dim, d], [kv_heads * head_dim, d] twice, [d, heads * head_dim]
  Linear gate, up, down;  // [ff, d] twice, [d, ff]; no gate where nothing is gated
  const float* attention_norm = nullptr;           // [d]
  const float* attention_after_norm = nullptr;     // [d]
  const float* feed_forward_norm = nullptr;        // [d]
  const float* feed_forward_after_norm = nullptr;  // [d]
  const float* q_norm = nullptr;                   // [head_dim]
  const float* k_norm = nullptr;                   // [head_dim]
  // Of norms on residual sums, which stand in the two *_after_norm.
  const float* attention_after_bias = nullptr;     // [d]
  const float* feed_forward_after_bias = nullptr;  // [d]
};

/// What became of OpenOptions::packed_folder.
enum class PackedSource : uint8_t {
  packed,   ///< no folder: packed from the model file
  read,     ///< read from the folder
  written,  ///< packed from the model file, and written to the folder
  refused,  ///< packed, but the folder could not be written: Weights::packed_error
};

/// A model's weights. All packed matrices lie in one piece of memory, in the order of the layers, so that the system
/// can give it huge pages; vectors lie in another, as f32.
struct Weights {
  Tensor embedding;                  // [vocab, d] in the file's type, mapped; rows are unpacked one at a time
  const float* positions = nullptr;  // [context, d]  what a row adds for its place, where positions are learned
  const float* segments = nullptr;   // [segments, d]  the first of which every row adds; null: none
  const float *embedding_norm = nullptr, *embedding_bias = nullptr;  // [d] each, where positions are learned
  std::vector<LayerWeights> layers;
  const float* final_norm = nullptr;        // [d]; null: an encoder
  Linear head;                              // [vocab, d]; empty: an encoder
  const HeadKernel* head_kernel = nullptr;  // screens the head, which is then packed in two parts; null: nobody does
  Tensor head_rows;                         // the same in the file's type, mapped; a shortlist is gathered from it
  Buffer packed;
  PackedSource packed_source = PackedSource::packed;
  std::string packed_error = {};
  Buffer vectors;
};

}  // namespace fathom
