// Panels: how 16 outputs of a quantised matrix lie interleaved, and the order of sums every kernel here keeps.
// Next in the flow: kernels/cpu/pack.cc, which writes panels; kernels/cpu/linear.cc, which multiplies by them.
//
// A panel is 16 outputs. Inputs come in blocks of 32 (one activation scale), a block in 8 quads of 4 inputs. A vector
// of 64 bytes holds one quad of all outputs: byte 4 o + b belongs to output o and input 4 quad + b, so that a 32-bit
// lane of a byte dot product is an output, whatever the width of the machine's vectors. One block of codes is
//   4 bits    4 vectors; the low nibbles of vector v are quad v, the high ones quad v + 4
//   + 1 bit   1 vector; bit j of a byte is the fifth bit of quad j
//   + 2 bits  2 vectors; bits 2 j, 2 j + 1 of vector v are the upper bits of quad 4 v + j
//   8 bits    8 vectors of signed bytes
// and a panel is a sequence of units, each a head and its blocks:
//   q4_0 q5_0 q8_0   units of 32 inputs: d f16 [16]
//   q4_k q5_k        units of 256 inputs: d f16 [16], dmin f16 [16], low u8 [8, 16], high u8 [4, 16]; block b's low has
//                    four bits of its scale and, above them, four of its min; two more of each are bits 4 (b % 2) to
//                    4 (b % 2) + 3 of high [b / 2]
//   q6_k             units of 256 inputs: d f16 [16], scale s8 [16, 16]
// which is the file's size. One stream, scales among codes: with all scales of a panel in front of its codes, one row
// ran at 0.4 of the memory's speed.
//
// Order of sums, for one output and one row; a = activations of a block, s their scale, q = codes. acc starts at 0,
// blocks ascend, the last step adds the bias. Each line's fma and products round once; everything called isum is exact.
//   q4_0 q5_0 q8_0   isum = sum (q - zero) a                 acc = fma(float(isum), d s, acc)
//   q4_k q5_k        isum = sum q a, asum = sum a            t = float(isum) (d scale)
//                                                            t = fma(-(dmin min), float(asum), t); acc = fma(s, t, acc)
//   q6_k             lower, upper = sum (q - 32) a of the    t = fma(float(upper), scale, float(lower) scale)
//                    halves of 16 inputs                     acc = fma(t, d s, acc)
//   f32 f16 bf16     inputs ascending: acc = fma(weight, a, acc)
// Both rounded to bf16 (Numerics::bf16): the same, unless the machine multiplies pairs: linear_bf16.cc, linear_amx.cc.
// Activations are 8 bits in one plane of bytes, or 12 in two: a = 16 high + low, and isum is 16 times the high plane's
// sum plus the low one's. d scale and dmin min are exact (11 + 6 bits); |isum| <= 32 * 128 * 2039 < 2^24 (q8_0, the
// largest), so that float(isum) is exact.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fathom/core/dtype.h"
#include "fathom/ops/kernel_table.h"

namespace fathom::kernels {

inline constexpr int kPanelRows = 16;
inline constexpr int kVectorBytes = 64;  // one quad of all outputs
inline constexpr int kQuads = kQuantBlock / 4;
inline constexpr int kScaleBytes = 2 * kPanelRows;  // one f16 for each output
inline constexpr int kLowScales = 2 * kScaleBytes;  // where they begin in the head of q4_k and q5_k
inline constexpr int kHighScales = kLowScales + 8 * kPanelRows;

/// How codes become weights.
enum class Coding : uint8_t {
  zero_point,  ///< (q - zero) d
  minimum,     ///< q d scale - dmin min
  two_scales,  ///< (q - zero) d scale, a scale for each 16 inputs
};

/// Geometry of one quantised type in a panel.
struct PanelFormat {
  Coding coding;
  int unit;         // inputs of the file's block
  int head_bytes;   // scales, at the start of each unit
  int block_bytes;  // codes of 32 inputs
  int max_code;     // largest |code| as a byte product sees it
  int zero;         // subtracted from codes
  bool signed_codes;

  constexpr int blocks() const { return unit / kQuantBlock; }
  constexpr int unit_bytes() const { return head_bytes + blocks() * block_bytes; }
};

template <DType type>
inline constexpr PanelFormat kPanelFormat{};
template <>
inline constexpr PanelFormat kPanelFormat<DType::q4_0>{Coding::zero_point, 32, 32, 256, 15, 8, false};
template <>
inline constexpr PanelFormat kPanelFormat<DType::q5_0>{Coding::zero_point, 32, 32, 320, 31, 16, false};
template <>
inline constexpr PanelFormat kPanelFormat<DType::q8_0>{Coding::zero_point, 32, 32, 512, 128, 0, true};
template <>
inline constexpr PanelFormat kPanelFormat<DType::q4_k>{Coding::minimum, 256, 256, 256, 15, 0, false};
template <>
inline constexpr PanelFormat kPanelFormat<DType::q5_k>{Coding::minimum, 256, 256, 320, 31, 0, false};
template <>
inline constexpr PanelFormat kPanelFormat<DType::q6_k>{Coding::two_scales, 256, 288, 384, 63, 32, false};

/// Bytes of one panel; a multiple of 32. Codes lie at multiples of 32, scales at multiples of 16.
constexpr size_t panel_bytes(const PanelFormat& f, int64_t cols) {
  return static_cast<size_t>(cols / f.unit) * static_cast<size_t>(f.unit_bytes());
}

constexpr int64_t n_panels(int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }

/// Bytes of one panel of plain floats: [cols, 16].
constexpr size_t float_panel_bytes(DType type, int64_t cols) {
  return static_cast<size_t>(cols) * kPanelRows * info(type).block_bytes;
}

/// The longest row of bf16 that is multiplied as floats: 96 KB of them wait on the stack.
inline constexpr int64_t kMostRoundedCols = 24576;

/// Bytes of one panel of pairs of bf16: [padded_cols / 2, 16, 2].
constexpr size_t paired_panel_bytes(int64_t cols) { return float_panel_bytes(DType::bf16, padded_cols(cols)); }

}  // namespace fathom::kernels
