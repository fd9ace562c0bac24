// Metadata to ModelConfig and TokenizerTables. Next in the flow: model/weights_loader.h, which checks tensors against
// it.
#pragma once

#include "fathom/core/result.h"
#include "fathom/model/config.h"
#include "fathom/text/tokenizer.h"
#include "src/model/gguf.h"

namespace fathom {

inline constexpr int32_t kMaxLayers = 1024;
inline constexpr int32_t kMaxWidth = 1 << 20;
inline constexpr int32_t kMaxContext = 1 << 24;
inline constexpr int32_t kMaxVocab = 1 << 24;

/// A family's spec from the file's keys, its tensors' presence (biases, output, rope_freqs) and the family's defaults.
///   errors   unsupported: unknown family, mixture of experts, a rope scaling Fathom has not; format: a key missing, of
///            the wrong type or out of range; shape: numbers that do not fit together
Result<ModelConfig> read_config(const gguf::File& file);

/// The tokenizer section, checked against `vocab` rows of the token table.
///   errors   format: wrong types, a token list of another length
Result<TokenizerTables> read_tokenizer_tables(const gguf::File& file, int32_t vocab);

}  // namespace fathom
