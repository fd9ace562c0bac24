// generate_batch(): many texts side by side, each as if it were alone. Next in the flow: sample/sampler.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/engine/generate.h"

namespace fathom {

/// One text to be continued.
struct BatchItem {
  std::vector<int32_t> prompt = {};
  uint64_t seed = 0;     // in place of SampleOptions::seed
  int64_t sequence = 0;  // in place of GenerateOptions::sequence
};

struct BatchOptions {
  GenerateOptions each = {};  // of every text; `trace`, `on_token`, `on_prefill` and `draft_source` are not used
  /// Called for each text when it ends, in the order in which texts end; returning false ends the others as cancelled.
  bool (*on_done)(void* context, size_t item, const Generation& generation) = nullptr;
  /// Called between passes; returning false ends all texts as cancelled.
  bool (*on_pass)(void* context) = nullptr;
  void* context = nullptr;
};

/// Continues texts in the session's sequences, as many at once as it has. A row of one text never changes another:
/// tokens, depths and stop reasons are those of generate() alone. A text that ends makes room for the next.
///   session  its sequences are made new
///   returns  [items] in the caller's order; rates count the time in which a text stood beside others
///   errors   argument, capacity: the item and what generate() would say of it, before any text is begun
FATHOM_API Result<std::vector<Generation>> generate_batch(Session& session, std::span<const BatchItem> items,
                                                          const BatchOptions& options = {});

}  // namespace fathom
