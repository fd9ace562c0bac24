// ModelConfig and LayerSpec: a model family as a value, read from the file's metadata and the family's defaults.
// Next in the flow: model/weights.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
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
  bool gated = true;  // down(gate(a x) * (b x)); false: down(gate(b x))
  Pairing pairing = Pairing::halves;
  int32_t rope_dim = 0;  // rotated numbers of a head; even; 0: none
  float rope_base = 10000.0f;
  float rope_scale = 1.0f;    // positions are divided by it
  bool causal = true;         // a row sees cells up to its own; false: all of its sequence
  int32_t window = 0;         // cells a row sees, itself included; 0: all
  float attention_scale = 0;  // of the scores
  bool qk_norm = false;       // root-mean-square norm of each head of q and k before the rotation
  bool qkv_bias = false;
  bool norm_after = false;  // a norm on each sublayer's output before the residual sum
  bool norm_sum = false;    // a norm on each residual sum, and none in front of the sublayer

  friend bool operator==(const LayerSpec&, const LayerSpec&) = default;
};

/// How the rows of an encoder's text become one embedding.
enum class Pooling : uint8_t {
  mean,   ///< of all rows
  first,  ///< that of the first token, [CLS]
};

/// "silu", "gelu_tanh" or "gelu".
constexpr std::string_view name_of(Gate gate) noexcept {
  return gate == Gate::silu ? "silu" : gate == Gate::gelu_tanh ? "gelu_tanh" : "gelu";
}

/// Where a value came from: a key of the file, or the family's default.
struct ValueSource {
  std::string name;  // for example "rope_base[global]"
  std::string value;
  std::string source;  // "gemma3.rope.freq_base" or "family default"
};

/// Everything about a model except its weights and words.
struct ModelConfig {
  std::string family;  // bert, gemma3, llama, qwen2, qwen3
  std::string name;    // general.name, may be empty
  int32_t n_layers = 0;
  int32_t d_model = 0;
  int32_t vocab = 0;
  int32_t context = 0;            // positions the model was made for
  NormKind norm = NormKind::rms;  // of every norm
  float norm_eps = 1e-6f;
  float embedding_scale = 1.0f;
  bool learned_positions = false;   // a table of `context` rows is added to the tokens', and a norm follows
  bool tied_head = false;           // the LM head is the token table
  std::vector<float> rope_factors;  // [rope_dim / 2] divisors of the frequencies, empty: none
  std::vector<LayerSpec> layers;    // [n_layers]
  Pooling pooling = Pooling::mean;  // of an encoder
  bool unit_length = false;         // an encoder's embeddings are divided by their length
  int32_t usual_tokens = 0;         // where an encoder cuts texts unless told otherwise; at most `context`
  std::vector<ValueSource> sources;

  /// It reads whole texts and has no head, rather than predict the next token.
  bool encodes() const { return !layers.empty() && !layers[0].causal; }
};

}  // namespace fathom
