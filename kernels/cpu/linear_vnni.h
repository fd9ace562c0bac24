// Linear kernels with byte dot products, chosen by CPUID. Next in the flow: kernels/cpu/tables.cc.
#pragma once

#include "fathom/ops/kernel_table.h"

namespace fathom::kernels::vnni {

/// AVX-512 VNNI, for every quantised type; x86-64 only.
inline constexpr int kKernels = 6;
extern const LinearKernel kLinear[kKernels];

}  // namespace fathom::kernels::vnni
