// Products of weights and activations in bf16 with AVX-512 BF16's pair products, chosen by CPUID. Next in the flow:
// kernels/cpu/tables.cc. x86-64 only.
#pragma once

#include "kernels/cpu/linear_targets.h"

namespace fathom::kernels::avx512bf16 {

bool usable() noexcept;
LinearKernel bf16_kernel() noexcept;

}  // namespace fathom::kernels::avx512bf16
