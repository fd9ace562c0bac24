// Packing of head matrices into split panels, and the row's side of a screen. Next in the flow: kernels/cpu/head.cc.
#pragma once

#include "kernels/cpu/split_panel.h"

namespace fathom::kernels {

/// LinearKernel::packed_bytes and ::pack of HeadKernel::product.
template <DType type>
size_t split_bytes(const MatrixDesc& matrix) noexcept;
template <DType type>
void pack_split(const MatrixDesc& matrix, const void* src, void* dst, int64_t begin, int64_t end) noexcept;

/// HeadKernel::prepared_floats and ::prepare.
template <DType type>
int64_t prepared_floats(const MatrixDesc& matrix) noexcept;
template <DType type>
bool prepare_screen(const MatrixDesc& matrix, const QuantRows& src, int64_t row, float* dst) noexcept;

}  // namespace fathom::kernels
