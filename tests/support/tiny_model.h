// Tiny seeded models of every family and weight type, built in memory. Next: the tests, and
// tests/golden/tiny_oracle.py, which has another engine evaluate the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fathom/core/dtype.h"
#include "fathom/model/model.h"
#include "tests/support/gguf_writer.h"

namespace fathom::testing {

enum class TinyVocab {
  family,         ///< sentencepiece for gemma3, wordpiece for bert, byte_bpe for the others
  sentencepiece,  ///< byte tokens, letters, a few words, user-defined newline and tab
  byte_bpe,       ///< all bytes, a few merges, ChatML tokens
  wordpiece,      ///< letters, digits and signs, a few words and endings, [CLS] and [SEP]
  none,           ///< ids only
};

struct TinyOptions {
  std::string family = "qwen2";
  int32_t n_layers = 4;
  // Widths; K types store rows of 256, so d_model, heads * head_dim and feed_forward are raised to 256 for them.
  int32_t d_model = 64;
  int32_t heads = 4;
  int32_t kv_heads = 2;   // bert: as `heads`
  int32_t head_dim = 16;  // bert: d_model / heads
  int32_t feed_forward = 96;
  int32_t vocab = 384;  // at least 320 with a tokenizer
  int32_t context = 512;
  int32_t window = 8;          // gemma3: cells of a local layer
  int32_t window_pattern = 0;  // gemma3: 0 leaves the key out, so that the family's 6 holds
  DType type = DType::f32;     // of every matrix
  bool tied_head = false;
  bool rope_factors = false;  // llama: a tensor rope_freqs.weight as Llama 3 has
  TinyVocab tokenizer = TinyVocab::family;
  uint64_t seed = 1;
};

/// The same options give the same bytes on every machine.
GgufWriter tiny_writer(const TinyOptions& options = {});
Bytes tiny_gguf(const TinyOptions& options = {});

/// Opens tiny_gguf(options); models are kept until the program ends, so that asking twice costs nothing.
/// Throws Exception on an error.
Model tiny_model(const TinyOptions& options = {}, const OpenOptions& open = {});

}  // namespace fathom::testing
