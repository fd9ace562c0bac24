// Kernels that multiply tiles (AMX), chosen by CPUID where the system lets the process use them. Next in the flow:
// kernels/cpu/tables.cc. x86-64 only.
#pragma once

#include "kernels/cpu/linear_targets.h"

namespace fathom::kernels::amx {

/// Whether the processor has tiles of bf16 and bytes and the system grants them to this process; asked once.
bool usable() noexcept;

LinearKernel bf16_kernel() noexcept;
/// Puts kernels of sixteen rows a tile in the place of the quantised types.
void replace_quantised(LinearLists& lists);
/// The same for the head kernels.
void replace_heads(LinearLists& lists);

}  // namespace fathom::kernels::amx
