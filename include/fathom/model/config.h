// ModelConfig and LayerSpec: a model family as a value, read from the file's metadata and the family's defaults.
// Next in the flow: model/weights.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fathom/core/macros.h"
#include "fathom/ops/kernel_table.h"

namespace fathom {

/// One transformer block. The layer loop reads nothing else about a family.
struct LayerSpec {
  int32_t heads = 0;
  int32_t kv_heads = 0;      // divides heads
  int32_t head_dim = 0;      // even
  int32_t feed_forward = 0;  // inner width
  Gate gate = Gate::silu;
  Pairing pairing = Pairing::halves;
  int32_t rope_dim = 0;  // rotated numbers of a head; even
  float rope_base = 10000.0f;
  float rope_scale = 1.0f;    // positions are divided by it
  int32_t window = 0;         // cells a row sees, itself included; 0: all
  float attention_scale = 0;  // of the scores
  bool qk_norm = false;       // root-mean-square norm of each head of q and k before the rotation
  bool qkv_bias = false;
  bool norm_after = false;  // a norm on each sublayer's output before the residual sum

  friend bool operator==(const LayerSpec&, const LayerSpec&) = default;
};

/// Where a value came from: a key of the file, or the family's default.
struct ValueSource {
  std::string name;  // for example "rope_base[global]"
  std::string value;
  std::string source;  // "gemma3.rope.freq_base" or "family default"
};

/// Everything about a model except its weights and words.
struct ModelConfig {
  std::string family;  // gemma3, llama, qwen2, qwen3
  std::string name;    // general.name, may be empty
  int32_t n_layers = 0;
  int32_t d_model = 0;
  int32_t vocab = 0;
  int32_t context = 0;  // positions the model was made for
  float norm_eps = 1e-6f;
  float embedding_scale = 1.0f;
  bool tied_head = false;           // the LM head is the token table
  std::vector<float> rope_factors;  // [rope_dim / 2] divisors of the frequencies, empty: none
  std::vector<LayerSpec> layers;    // [n_layers]
  std::vector<ValueSource> sources;
};

}  // namespace fathom
