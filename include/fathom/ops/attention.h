// Attention of a step: which row meets which chunk of the cache on which thread, and in what order partials are folded.
// Next in the flow: cache/kv_cache.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/core/threads.h"
#include "fathom/ops/kernel_table.h"

namespace fathom {

/// Working memory of attention(), made once for a session; a step allocates nothing.
struct AttentionPlan {
  /// The heads it will serve (the largest of all layers) and the longest row.
  struct Limits {
    int threads = 1;
    int64_t heads = 0, kv_heads = 0, head_dim = 0;
    int64_t max_tokens = 0;
  };

  Limits limits{};
  Buffer scratch;

  /// Plans for `limits`. A row's partial results take less than 4 % of its f16 cache with up to 8 query heads a group.
  ///   errors   argument: a limit below 1, or heads no multiple of kv_heads; capacity: memory refused
  FATHOM_API static Result<AttentionPlan> make(const Limits& limits);
};

/// Attention of n rows against the cache, one layer.
///   args     rows may belong to different sequences and have different lengths
///   listened [kv_heads] 0: nobody asks this KV head: its cells are not read, and dst is left alone; empty: all are
///   cost     4 * cells * heads * head_dim operations a row; reads each cell once for all query heads that share it
///   source   Dao 2023, algorithm 1, with chunks at fixed places: each row's chunks are folded in ascending order, so
///            its bits depend on nothing but its own cells
FATHOM_API void attention(ThreadPool& pool, const KernelTable& table, const AttentionArgs& args, int64_t n,
                          const AttentionPlan& plan, std::span<const uint8_t> listened = {}) noexcept;

}  // namespace fathom
