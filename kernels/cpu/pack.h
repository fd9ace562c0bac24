// Packing of a file's matrix into panels, one pair of functions for each type. Next in the flow:
// kernels/cpu/linear.cc.
#pragma once

#include "kernels/cpu/panel.h"

namespace fathom::kernels {

/// LinearKernel::packed_bytes and ::pack for quantised panels of `type`.
template <DType type>
size_t quantised_bytes(const MatrixDesc& matrix) noexcept;
template <DType type>
void pack_quantised(const MatrixDesc& matrix, const void* src, void* dst, int64_t begin, int64_t end) noexcept;

/// The same for panels [cols, 16] of f32, f16 or bf16 in the file's type.
template <DType type>
size_t plain_bytes(const MatrixDesc& matrix) noexcept;
template <DType type>
void pack_plain(const MatrixDesc& matrix, const void* src, void* dst, int64_t begin, int64_t end) noexcept;

/// The same for any type expanded to panels [cols, 16] of f32.
size_t expanded_bytes(const MatrixDesc& matrix) noexcept;
void pack_expanded(const MatrixDesc& matrix, const void* src, void* dst, int64_t begin, int64_t end) noexcept;

/// The same for any type rounded to bf16, in panels [cols, 16].
size_t rounded_bytes(const MatrixDesc& matrix) noexcept;
void pack_rounded(const MatrixDesc& matrix, const void* src, void* dst, int64_t begin, int64_t end) noexcept;

/// And in panels of pairs of inputs [padded_cols / 2, 16, 2], for instructions that multiply two and add them.
size_t paired_bytes(const MatrixDesc& matrix) noexcept;
void pack_pairs(const MatrixDesc& matrix, const void* src, void* dst, int64_t begin, int64_t end) noexcept;

}  // namespace fathom::kernels
