// Rows of wide weights as blocks of Q8_0, for matrices that are packed narrower than their file holds them.
// Next in the flow: model/weights_loader.cc, head/hot_head.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fathom/core/dtype.h"

namespace fathom {

/// Whether quantising makes a type narrower.
constexpr bool is_wide(DType type) { return type == DType::f32 || type == DType::f16 || type == DType::bf16; }

/// One row of a wide type as Q8_0: of each 32 numbers d = max|x| / 127 as f16 and q = x / d to the nearest, halves away
/// from zero, with d before it is rounded: the bits of llama.cpp's converter. A block that holds a NaN or an infinity
/// gets the scale NaN, so that every product with it is NaN.
///   src   [cols]
///   dst   row_bytes(q8_0, cols)
///   cols  a multiple of 32
void quantise_row(DType type, const std::byte* src, int64_t cols, std::byte* dst) noexcept;

}  // namespace fathom
