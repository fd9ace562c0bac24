// The tables this build carries. Next in the flow: kernels/ref/ref.cc (the specification), kernels/cpu/.
#pragma once

#include <cstdint>

#include "fathom/ops/kernel_table.h"

namespace fathom::kernels {

/// The specification: scalar, double accumulators; serves every entry and every type.
const KernelTable& ref();

/// Tables of the SIMD targets this machine can run, best first; at least one. Made by CPUID at the first call.
///   n   receives their number
const KernelTable* const* cpu(int32_t* n);

}  // namespace fathom::kernels
