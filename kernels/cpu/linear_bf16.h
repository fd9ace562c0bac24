// Products of weights and activations in bf16 with instructions of their own, chosen by CPUID. Next in the flow:
// kernels/cpu/tables.cc.
#pragma once

#include "kernels/cpu/linear_targets.h"

namespace fathom::kernels {

/// AMX tiles, where the processor has them and the system lets this process use them; asked once. x86-64 only.
namespace amx {
bool usable() noexcept;
LinearKernel bf16_kernel() noexcept;
}  // namespace amx

/// AVX-512 BF16 pair products; x86-64 only.
namespace avx512bf16 {
bool usable() noexcept;
LinearKernel bf16_kernel() noexcept;
}  // namespace avx512bf16

}  // namespace fathom::kernels
