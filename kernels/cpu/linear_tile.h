// Tiles: a few rows of quantised activations gathered so that a product walks one pointer, and the loops around them.
// Next in the flow: kernels/cpu/linear.cc (every target), kernels/cpu/linear_vnni.cc (byte dot products).
//
// Loops, outermost first: groups of panels that fit the second cache, tiles of rows, segments of blocks (with many rows:
// whose gathered activations fit the first cache), panels, blocks. Between segments the sums wait in dst (storing f32 is exact).
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/cpu/panel.h"

namespace fathom::kernels {

inline constexpr size_t kTileBytes = 96 * 1024;        // gathered activations of one segment: on the stack
inline constexpr size_t kRepeatedTileBytes = 24 * 1024;  // the same where panels come from the second cache
inline constexpr int kPrefetchBytes = 4096;            // how far ahead of its block a kernel asks for codes
inline constexpr size_t kGroupBytes = 256 * 1024;  // panels that several tiles read one after the other

/// Rows of a block in a tile: values s8 [rows, 32], scales f32 [rows], corrections (4 bytes) [n_corrections, rows]:
///   zero_point  -zero * sum of the block (int)      minimum     sum of the block (float)
///   two_scales  -zero * sum of each half (int)
template <DType type, int rows>
struct TileRecord {
  static constexpr int kCorrections = kPanelFormat<type>.coding == Coding::two_scales ? 2 : 1;
  static constexpr int kScales = rows * kQuantBlock;
  static constexpr int kCorrection = kScales + rows * 4;
  static constexpr int kBytes = kCorrection + kCorrections * rows * 4;

  /// Blocks of one segment, whole units of 256 inputs. With few rows a panel should be one run through memory.
  static int64_t segment(int64_t n) {
    return static_cast<int64_t>(n <= 8 ? kTileBytes : kRepeatedTileBytes) / kBytes / 8 * 8;
  }
};

/// Fills records of blocks [block, block + n_blocks) for `rows` rows from `row` on.
template <DType type, int zero, int rows>
void gather_tile(const Q8Rows& src, int64_t row, int64_t block, int64_t n_blocks, uint8_t* dst) {
  using Record = TileRecord<type, rows>;
  for (int r = 0; r < rows; ++r) {
    const int8_t* values = src.values + (row + r) * src.cols + block * kQuantBlock;
    const float* scales = src.scales + (row + r) * (src.cols / kQuantBlock) + block;
    const int32_t* sums = src.sums + (row + r) * (src.cols / kSumBlock) + 2 * block;
    uint8_t* record = dst;
    for (int64_t b = 0; b < n_blocks; ++b, record += Record::kBytes) {
      std::memcpy(record + r * kQuantBlock, values + b * kQuantBlock, kQuantBlock);
      std::memcpy(record + Record::kScales + 4 * r, scales + b, 4);
      uint8_t* correction = record + Record::kCorrection + 4 * r;
      if constexpr (kPanelFormat<type>.coding == Coding::two_scales) {
        const int32_t half[2] = {-zero * sums[2 * b], -zero * sums[2 * b + 1]};
        std::memcpy(correction, &half[0], 4);
        std::memcpy(correction + 4 * rows, &half[1], 4);
      } else if constexpr (kPanelFormat<type>.coding == Coding::minimum) {
        const auto sum = static_cast<float>(sums[2 * b] + sums[2 * b + 1]);
        std::memcpy(correction, &sum, 4);
      } else {
        const int32_t sum = -zero * (sums[2 * b] + sums[2 * b + 1]);
        std::memcpy(correction, &sum, 4);
      }
    }
  }
}

/// Asks for `bytes` of what a kernel will read a little later.
inline __attribute__((always_inline)) void prefetch(const uint8_t* p, int bytes) {
  for (int i = 0; i < bytes; i += kVectorBytes) __builtin_prefetch(p + kPrefetchBytes + i);
}

/// Computes `rows` (its template argument) rows from `row` on for panels [begin, end).
using TileFn = void (*)(const LinearArgs& args, int64_t row, int64_t begin, int64_t end);

/// Runs all rows in tiles: tiles[r] serves r rows, r in 1..8; tiles[0] serves 16, or is null.
inline void run_tiles(const LinearArgs& args, const TileFn (&tiles)[9], size_t panel_size, int64_t begin, int64_t end) {
  const auto fit = static_cast<int64_t>(std::max<size_t>(1, kGroupBytes / panel_size));
  const int64_t group = args.n <= 8 ? end - begin : fit;
  for (int64_t p = begin; p < end; p += group) {
    const int64_t p_end = std::min(end, p + group);
    for (int64_t row = 0; row < args.n;) {
      const int64_t left = args.n - row;
      if (left >= 16 && tiles[0] != nullptr) {
        tiles[0](args, row, p, p_end);
        row += 16;
      } else {
        const int64_t n = std::min<int64_t>(left, 8);
        tiles[n](args, row, p, p_end);
        row += n;
      }
    }
  }
}

/// 16 outputs of one row on their way to dst: `sums` before the first segment is zero, after the last gains the bias.
inline void load_outputs(const LinearArgs& args, int64_t row, int64_t panel, float* sums) {
  const int64_t o = panel * kPanelRows, n = std::min<int64_t>(kPanelRows, args.matrix.rows - o);
  std::memcpy(sums, args.dst + row * args.dst_stride + o, static_cast<size_t>(n) * 4);
}

inline void store_outputs(const LinearArgs& args, int64_t row, int64_t panel, bool last, const float* sums) {
  const int64_t o = panel * kPanelRows, n = std::min<int64_t>(kPanelRows, args.matrix.rows - o);
  float* dst = args.dst + row * args.dst_stride + o;
  for (int64_t i = 0; i < n; ++i) dst[i] = last && args.bias != nullptr ? sums[i] + args.bias[o + i] : sums[i];
}

}  // namespace fathom::kernels
