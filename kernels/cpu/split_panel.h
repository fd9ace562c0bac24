// Split panels: a head matrix in two parts, so that a screen reads four bits of each weight and a product reads all.
// Next in the flow: kernels/cpu/head_pack.cc, which writes them; kernels/cpu/head_prepare.cc, which bounds what the
// high part leaves open.
//
// The unsigned code of a weight (q8_0: 128 more than the file's; q6_k: the file's) is 2^low_bits high + low with four
// bits of high. The packed matrix is the high parts of all panels, then their low parts, both one stream:
//   high part   norms: scale bf16 [16], u8 [groups, 16]; padded to 32 bytes; then units as in panel.h, a head of scales
//               and for each block of 32 inputs 4 vectors of nibbles, the low ones quad v, the high ones quad v + 4
//   low part    for each block: q8_0 4 vectors of nibbles in the same order; q6_k 2 vectors of pairs of bits, bits 2 j,
//               2 j + 1 of vector v are quad 4 v + j
// A group is a few whole blocks, at most 8 groups a row. Its norm is a bound from above: code times the output's scale
// is at least the Euclidean norm of d scale (low - centre) over the group, centre the middle of the low range.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/panel.h"
#include "kernels/ref/half.h"

namespace fathom::kernels {

inline constexpr int kMaxGroups = 8;
inline constexpr int64_t kMaxScreenCols = 5120;  // what a tile of 8 rows gathers in one segment (linear_tile.h)

/// Geometry of one type.
struct SplitFormat {
  int low_bits;
  int low_block_bytes;
  int scale_inputs;  // inputs that share a scale
  int value_shift;   // 2 (code - zero) with the centre for the low part is (high << value_shift) - value_zero
  int value_zero;
  float half_range;    // the largest |low - centre|
  float largest_code;  // the largest |code - zero|
};

template <DType type>
inline constexpr SplitFormat kSplitFormat{};
template <>
inline constexpr SplitFormat kSplitFormat<DType::q8_0>{4, 256, 32, 5, 241, 7.5f, 128};
template <>
inline constexpr SplitFormat kSplitFormat<DType::q6_k>{2, 128, 16, 3, 61, 1.5f, 32};

/// Where things lie in a matrix of a type.
template <DType type>
struct SplitLayout {
  static constexpr PanelFormat kPanel = kPanelFormat<type>;
  static constexpr SplitFormat kSplit = kSplitFormat<type>;
  static constexpr int kHighBlockBytes = 4 * kVectorBytes;
  static constexpr int kHighUnitBytes = kPanel.head_bytes + kPanel.blocks() * kHighBlockBytes;

  int64_t panels, blocks, group_blocks, groups;
  size_t norm_bytes, high_bytes, low_bytes;  // of a panel

  explicit constexpr SplitLayout(const MatrixDesc& m)
      : panels(n_panels(m.rows)),
        blocks(m.cols / kQuantBlock),
        group_blocks((blocks + kMaxGroups - 1) / kMaxGroups),
        groups((blocks + group_blocks - 1) / group_blocks),
        norm_bytes(static_cast<size_t>(2 + groups + 1) / 2 * 32),
        high_bytes(norm_bytes + static_cast<size_t>(blocks / kPanel.blocks()) * kHighUnitBytes),
        low_bytes(static_cast<size_t>(blocks) * kSplit.low_block_bytes) {}

  constexpr size_t low_begin() const { return (static_cast<size_t>(panels) * high_bytes + 63) / 64 * 64; }
  constexpr size_t bytes() const { return low_begin() + static_cast<size_t>(panels) * low_bytes; }
  constexpr size_t high_at(int64_t panel) const { return static_cast<size_t>(panel) * high_bytes; }
  constexpr size_t low_at(int64_t panel) const { return low_begin() + static_cast<size_t>(panel) * low_bytes; }
};

/// What a screen reads of a row beside its quantised values, by prepare_screen; shape and meaning in head_prepare.cc.
struct ScreenRow {
  const float* norms;   // [kMaxGroups]
  const float* spread;  // [cols / scale_inputs]
  template <DType type>
  static constexpr int64_t floats(int64_t cols) {
    return kMaxGroups + cols / kSplitFormat<type>.scale_inputs;
  }
};

/// What every screen's radius starts from: above all that underflow can change in the products of kMaxScreenCols
/// inputs.
inline constexpr float kLeastRadius = 0x1p-80f;
/// A radius beyond it proves nothing: below, no sum of a product overflowed.
inline constexpr float kLargestRadius = 1e30f;

}  // namespace fathom::kernels
