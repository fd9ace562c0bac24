// What a model family means beyond its file's keys: one row of data for each. Next in the flow: model/config_reader.h.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "fathom/model/config.h"

namespace fathom {

/// A family's defaults; a value that a key of the file may replace is named `default_`.
struct Family {
  std::string_view name;  // general.architecture, and the prefix of its keys
  Gate gate;
  bool gated = true;  // a tensor ffn_gate beside ffn_up
  Pairing pairing;
  bool qk_norm;
  bool qkv_bias;                   // q, k and v must have a bias; every other matrix may have one
  bool norm_after;                 // tensors post_attention_norm and post_ffw_norm
  bool encoder = false;            // bidirectional, norms with biases on residual sums, learned positions, no head
  bool scaled_embedding;           // token rows times sqrt(d_model)
  float default_rope_base;         // rope.freq_base
  float default_local_rope_base;   // rope.freq_base_swa, for layers with a window
  bool windowed;                   // reads attention.sliding_window
  int32_t default_window_pattern;  // attention.sliding_window_pattern: every n-th layer sees all cells
  int32_t wide_scale_layers;       // a model of this many layers scales scores by sqrt(heads / d_model); 0: none does
};

std::span<const Family> families();
const Family* find_family(std::string_view name);

/// "bert, gemma3, llama, qwen2, qwen3", for messages.
std::string known_families();

}  // namespace fathom
