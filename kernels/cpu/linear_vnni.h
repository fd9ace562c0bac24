// Linear kernels with byte dot products, chosen by CPUID. Next in the flow: kernels/cpu/tables.cc.
#pragma once

#include "kernels/cpu/linear_targets.h"

namespace fathom::kernels::vnni {

/// Puts AVX-512 VNNI kernels in the place of the quantised types; x86-64 only.
void replace_quantised(LinearLists& lists);
/// The same for the head kernels.
void replace_heads(LinearLists& lists);

}  // namespace fathom::kernels::vnni
