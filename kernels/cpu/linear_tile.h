// Tiles: a few rows of quantised activations gathered so that a product walks one pointer, and the loops around them.
// Next in the flow: kernels/cpu/linear.cc (every target), kernels/cpu/linear_vnni.cc (byte dot products).
//
// Loops, outermost first: groups of panels that fit the second cache, segments of inputs, tiles of rows, panels,
// blocks. Between segments the sums wait in dst (storing f32 is exact). With few rows a segment is as long as the stack
// allows, so that a panel is one run through memory; with many, its gathered activations fit the first cache.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/cpu/panel.h"

namespace fathom::kernels {

inline constexpr int kTileRows = 16;               // the largest tile
inline constexpr size_t kTileBytes = 96 * 1024;    // gathered activations of one segment: on the stack
inline constexpr int64_t kManyRowsSegment = 32;    // blocks of a segment when there are several tiles
inline constexpr size_t kGroupBytes = 256 * 1024;  // what several tiles read of the weights, one after the other
inline constexpr int kPrefetchBytes = 8192;        // how far ahead of its block a kernel asks for codes
inline constexpr int kCacheAhead = 512;            // the same for floats that come from second cache: worth 5 %

/// Rows of a block in a tile: planes of values s8 [planes, rows, 32], scales f32 [rows], corrections (4 bytes)
/// [n_corrections, rows]:
///   zero_point  -zero * sum of the block (int)      minimum     sum of the block (float)
///   two_scales  -zero * sum of each half (int)
template <DType type, int rows, int planes>
struct TileRecord {
  static constexpr int kCorrections = kPanelFormat<type>.coding == Coding::two_scales ? 2 : 1;
  static constexpr int kLow = rows * kQuantBlock;  // the second plane, where there is one
  static constexpr int kScales = planes * rows * kQuantBlock;
  static constexpr int kCorrection = kScales + rows * 4;
  static constexpr int kBytes = kCorrection + kCorrections * rows * 4;
  static_assert(kManyRowsSegment / planes * kBytes <= static_cast<int64_t>(kTileBytes));
};

/// Fills records of blocks [block, block + n_blocks) for `rows` rows from `row` on.
template <DType type, int zero, int rows, int planes>
void gather_tile(const QuantRows& src, int64_t row, int64_t block, int64_t n_blocks, uint8_t* dst) {
  using Record = TileRecord<type, rows, planes>;
  for (int r = 0; r < rows; ++r) {
    const int64_t first = (row + r) * src.cols + block * kQuantBlock;
    const float* scales = src.scales + (row + r) * (src.cols / kQuantBlock) + block;
    const int32_t* sums = src.sums + (row + r) * (src.cols / kSumBlock) + 2 * block;
    uint8_t* record = dst;
    for (int64_t b = 0; b < n_blocks; ++b, record += Record::kBytes) {
      const int64_t at = first + b * kQuantBlock;
      std::memcpy(record + r * kQuantBlock, src.values + at, kQuantBlock);
      if constexpr (planes == 2) std::memcpy(record + Record::kLow + r * kQuantBlock, src.low + at, kQuantBlock);
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

/// Asks for `bytes` of what a kernel will read a little later, `ahead` of where it reads.
inline __attribute__((always_inline)) void prefetch(const uint8_t* p, int bytes, int64_t ahead = kPrefetchBytes) {
  for (int i = 0; i < bytes; i += kVectorBytes) __builtin_prefetch(p + ahead + i);
}

/// Computes a tile of rows from `row` on: panels [begin, end), blocks [block, block_end) of each.
struct TileRange {
  int64_t row, begin, end, block, block_end;
};
using TileFn = void (*)(const LinearArgs& args, const TileRange& range);

/// Runs all rows in tiles: tiles[r - 1] serves r rows, `large` 16, where there is one. `block_bytes` are those of a
/// panel's block, all told; `longest` is the longest segment of 8 rows, `many` that of more.
inline void run_tiles(const LinearArgs& args, TileFn large, const TileFn (&tiles)[8], int64_t blocks,
                      size_t block_bytes, int64_t longest, int64_t many, int64_t begin, int64_t end) {
  const bool few = args.n <= 8;
  const int64_t segment = few ? longest : std::min(blocks, many);
  const int64_t fit = static_cast<int64_t>(kGroupBytes / (static_cast<size_t>(segment) * block_bytes));
  const int64_t group = few ? end - begin : std::max<int64_t>(1, fit);
  for (int64_t p = begin; p < end; p += group) {
    for (int64_t b = 0; b < blocks; b += segment) {
      TileRange range{0, p, std::min(end, p + group), b, std::min(blocks, b + segment)};
      while (range.row < args.n) {
        const int64_t left = args.n - range.row;
        const bool is_large = left >= kTileRows && large != nullptr;
        const int64_t rows = is_large ? kTileRows : std::min<int64_t>(left, 8);
        (is_large ? large : tiles[rows - 1])(args, range);
        range.row += rows;
      }
    }
  }
}

template <DType type, int planes>
void run_quantised_tiles(const LinearArgs& args, TileFn large, const TileFn (&tiles)[8], int64_t begin, int64_t end) {
  constexpr PanelFormat f = kPanelFormat<type>;
  constexpr auto longest =
      static_cast<int64_t>(kTileBytes) / TileRecord<type, 8, planes>::kBytes / 8 * 8;  // whole units of 256
  run_tiles(args, large, tiles, args.matrix.cols / kQuantBlock, static_cast<size_t>(f.unit_bytes() / f.blocks()),
            longest, kManyRowsSegment / planes, begin, end);
}

/// All inputs of a tile of rows from `row` on, for a panel or a few from p on.
using FloatTile = void (*)(const LinearArgs& args, int64_t row, int64_t p);

/// Tiles of 1, 2, ... `rows` rows with one panel, and with `panels` of them for rows that share a panel's weights.
struct FloatTiles {
  int rows, panels;
  int64_t few;  // rows that wait for memory: a panel at a time
  const FloatTile *one, *many;
};

/// Runs all rows: groups of panels that fit the second cache, tiles of rows as equal as can be, panels.
inline void run_float_tiles(const LinearArgs& args, const FloatTiles& tiles, size_t panel_bytes, int64_t begin,
                            int64_t end) {
  const bool few = args.n <= tiles.few;
  const auto fit = static_cast<int64_t>(kGroupBytes / panel_bytes);
  const int64_t group = few ? end - begin : std::max<int64_t>(1, fit / tiles.panels) * tiles.panels;
  for (; begin < end; begin += group) {
    const int64_t last = std::min(end, begin + group);
    for (int64_t row = 0, left = (args.n + tiles.rows - 1) / tiles.rows; left > 0; --left) {
      const int64_t rows = (args.n - row + left - 1) / left;
      int64_t p = begin;
      for (; !few && p + tiles.panels <= last; p += tiles.panels) tiles.many[rows - 1](args, row, p);
      for (; p < last; ++p) tiles.one[rows - 1](args, row, p);
      row += rows;
    }
  }
}

/// Bounds of panels [begin, end) for a tile of rows from `row` on; dst counts from `begin`.
using ScreenTileFn = void (*)(const ScreenArgs& args, int64_t row, int64_t begin, int64_t end);

/// Screens all rows in tiles: tiles[r - 1] serves r rows. Inputs are one segment.
inline void run_screen_tiles(const ScreenArgs& args, const ScreenTileFn (&tiles)[8], int64_t begin, int64_t end) {
  for (int64_t row = 0; row < args.n; row += 8) {
    tiles[std::min<int64_t>(args.n - row, 8) - 1](args, row, begin, end);
  }
}

/// 16 outputs of one row on their way to dst: partial sums between segments; after the last they gain the bias.
inline void load_outputs(const LinearArgs& args, int64_t row, int64_t panel, float* sums) {
  const int64_t o = panel * kPanelRows, n = std::min<int64_t>(kPanelRows, args.matrix.rows - o);
  std::memcpy(sums, args.dst + row * args.dst_stride + o, static_cast<size_t>(n) * 4);
}

inline void store_outputs(const LinearArgs& args, int64_t row, int64_t panel, bool last, float* sums) {
  const int64_t o = panel * kPanelRows, n = std::min<int64_t>(kPanelRows, args.matrix.rows - o);
  float* dst = args.dst + row * args.dst_stride + o;
  if (last && args.bias != nullptr) {
    for (int64_t i = 0; i < n; ++i) sums[i] += args.bias[o + i];
  }
  if (n == kPanelRows) {
    std::memcpy(dst, sums, kPanelRows * 4);
  } else {
    std::memcpy(dst, sums, static_cast<size_t>(n) * 4);
  }
}

}  // namespace fathom::kernels
