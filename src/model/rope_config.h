// How a model rotates queries and keys: bases, scaling, and Llama 3's frequency factors. Next in the flow:
// config_reader.cc.
#pragma once

#include "fathom/core/result.h"
#include "fathom/model/config.h"
#include "src/model/families.h"
#include "src/model/gguf.h"
#include "src/model/metadata.h"

namespace fathom {

/// Fills rope_dim, rope_base, rope_scale of every layer (windows must be set) and config.rope_factors.
///   errors   unsupported: a scaling other than none, linear, llama3; format: values out of range
Result<void> read_rope(const gguf::File& file, const Family& family, Metadata& keys, ModelConfig& config);

}  // namespace fathom
