// A model's forward pass in double precision, written once more without the engine: what full depth means.
// Next: tests/golden/tiny_golden_test.cc, which holds it against another engine and the engine against it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/model/model.h"

namespace fathom::testing {

/// How an engine rounds what goes into a product; sums are in double precision whatever it is.
enum class PlainRounding {
  none,
  f16,   ///< to half precision
  bf16,  ///< to bfloat16
  q8,    ///< 8 bits in blocks of 32 with an f32 scale: Numerics::fast
  q12,   ///< 12 bits in the same blocks: Numerics::faithful
  q8_0,  ///< the same with the scale rounded to f16: llama.cpp beside weights in blocks of 32
  q8_k,  ///< 8 bits in blocks of 256 with an f32 scale: llama.cpp beside K types
};

/// How an encoder's text gets shorter behind a layer, 0: before the first. Its first and last token stay.
struct PlainTokens {
  int32_t layer = 0;
  bool fuse = false;     ///< a token that is the one before it joins it; before layer 1
  int32_t drop_to = 0;   ///< so many are left of those that received most attention; 0: none is dropped
  int32_t merge_to = 0;  ///< so many are left when the likest pairs have joined; 0: none joins
};

struct PlainOptions {
  PlainRounding rounding = PlainRounding::none;
  bool gelu_table = false;  // gelu_tanh of, and to, half precision: llama.cpp's table
  /// [ids] layers each position runs; above, its keys and values come from the state it left with. Empty: all layers.
  std::span<const int32_t> depths = {};
  const PlainTokens* tokens = nullptr;
  /// Where set: the states before layer 1, then after each half, as [1 + 2 * layers][ids][d_model].
  std::vector<std::vector<std::vector<double>>>* states = nullptr;
  /// Where set: the share of its attention that each position gives itself, mean over heads, as [layers][ids].
  std::vector<std::vector<double>>* own_shares = nullptr;
};

/// Logits of every position of one sequence, from the file's tensors and the LayerSpec values alone.
///   returns  [ids, vocab]
///   cost     no cache, no kernel: for tiny models
std::vector<std::vector<double>> plain_logits(const Model& model, std::span<const int32_t> ids,
                                              const PlainOptions& options = {});

/// An encoder's embedding of one text, from the same: states behind the last layer, pooled as ModelConfig says.
///   ids      with the tokens around the text
///   returns  [d_model]
std::vector<double> plain_embedding(const Model& model, std::span<const int32_t> ids, const PlainOptions& options = {});

}  // namespace fathom::testing
