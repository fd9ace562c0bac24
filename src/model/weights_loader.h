// Tensors to Weights: shapes checked against the config, vectors copied, matrices packed.
// Next in the flow: model/model.cc, which owns the result.
#pragma once

#include <span>
#include <string>

#include "fathom/core/result.h"
#include "fathom/core/threads.h"
#include "fathom/model/config.h"
#include "fathom/model/model_file.h"
#include "fathom/model/weights.h"
#include "src/model/gguf.h"
#include "src/model/mapped_file.h"

namespace fathom {

struct LoadOptions {
  std::span<const KernelTable* const> tables;
  Rounding rounding = {};
  int threads = 1;
  std::span<const MappedFile> mapped = {};  // whose pages are given back while packing; empty: plain memory
  std::string packed_folder = {};           // where packed matrices are kept; empty: nowhere
  uint64_t model_hash = 0;                  // names them there
  bool screen_head = false;                 // the head in two parts, where some kernel screens it
};

/// Checks every tensor before it copies or packs the first.
///   errors   format: a tensor missing, one that the family does not have, a vector with a number that is not finite;
///            shape: dimensions unlike the config, or not whole blocks of what weights are quantised to; capacity:
///            memory; file: changed while it was read
Result<Weights> load_weights(const gguf::File& file, const ModelConfig& config, const LoadOptions& options);

}  // namespace fathom
