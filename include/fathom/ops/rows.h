// Row kernels over threads, and the one table an engine uses: each entry from the first backend that serves it.
// Next in the flow: ops/linear.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "fathom/core/threads.h"
#include "fathom/ops/kernel_table.h"

namespace fathom {

/// The entries of several tables merged, first come first served. Product lists are not merged: they are searched
/// table by table when weights are packed.
FATHOM_API KernelTable merge(std::span<const KernelTable* const> tables) noexcept;

/// Runs a row kernel over n rows of `cols` numbers, on several threads where that is worth a wake-up.
/// Each row is computed alone, so the split changes no bit.
template <class Args>
void run_rows(ThreadPool& pool, const RowKernel<Args>& kernel, int64_t n, int64_t cols, const Args& args) noexcept {
  constexpr int64_t kWorthAWakeUp = 4096;  // numbers; 1 to 3 us of work
  const int64_t parts = std::min({n, n * cols / kWorthAWakeUp, int64_t{4} * pool.threads()});
  if (parts <= 1 || pool.threads() == 1) return kernel.run(args, 0, n);
  pool.run(parts, [&](int64_t part) { kernel.run(args, n * part / parts, n * (part + 1) / parts); });
}

}  // namespace fathom
