// Products against panels for every Highway target: quantised types by pairs of bytes in 16 bits, plain types by fused
// multiply-adds. Next in the flow: kernels/cpu/linear_vnni.cc, the same sums with byte dot products.
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <array>
#include <utility>

#include "kernels/cpu/linear-inl.h"
#include "kernels/cpu/linear_scalar.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

using Runs = scalar::Runs;

#else

// ---- plain types ----------------------------------------------------------------------------------------------------

HWY_INLINE VecF32 widen(const uint16_t* src) {
  const hn::Rebind<uint16_t, I32> d16;
  return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(I32(), hn::LoadU(d16, src))));
}

template <DType type>
HWY_INLINE VecF32 load_weights(const uint8_t* src, int p) {
  if constexpr (type == DType::f32) {
    return hn::Load(F32(), reinterpret_cast<const float*>(src) + p * kLanes);
  } else if constexpr (type == DType::f16) {
    return load_half(src, p);
  } else {
    return widen(reinterpret_cast<const uint16_t*>(src) + p * kLanes);
  }
}

// Each output of each row is one chain of fused steps over the inputs, so that a tile's shape changes no bit. Few rows
// wait for memory: a panel at a time, asked for far ahead. Many are bound by the fused steps: as many sums as the
// registers hold beside a panel's weights and one activation.
constexpr bool kLarge = HWY_TARGET == HWY_AVX3;  // 32 registers of 16 lanes
constexpr int kManyPanels = kLarge ? 2 : 1;
constexpr int kPlainRows = kLarge ? 12 : 6;  // the largest tile
constexpr int64_t kFewRows = kLarge ? 8 : kPlainRows;

template <int rows, int panels>
HWY_INLINE void store_plain(const LinearArgs& args, int64_t row, int64_t p,
                            const VecF32 (&acc)[rows][panels * kParts]) {
  const F32 df;
  for (int i = 0; i < panels; ++i) {
    const int64_t o = (p + i) * kPanelRows;
    if (o + kPanelRows <= args.matrix.rows) {
#pragma GCC unroll 12
      for (int r = 0; r < rows; ++r) {
        for (int v = 0; v < kParts; ++v) {
          VecF32 sum = acc[r][i * kParts + v];
          if (args.bias != nullptr) sum = hn::Add(sum, hn::LoadU(df, args.bias + o + v * kLanes));
          hn::StoreU(sum, df, args.dst + (row + r) * args.dst_stride + o + v * kLanes);
        }
      }
      continue;
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
      alignas(64) float sums[kPanelRows];
      for (int v = 0; v < kParts; ++v) hn::Store(acc[r][i * kParts + v], df, sums + v * kLanes);
      store_outputs(args, row + r, p + i, true, sums);
    }
  }
}

/// All inputs of `rows` rows from `row` on for panels [p, p + panels).
template <DType type, int panels, int rows, int64_t ahead>
void plain_tile(const LinearArgs& args, int64_t row, int64_t p) {
  constexpr int64_t kBytes = static_cast<int64_t>(kPanelRows * info(type).block_bytes);
  constexpr int kReach = 3;  // rows that one pointer reaches with a register for the distance
  const F32 df;
  const int64_t cols = args.matrix.cols, panel_bytes = kBytes * cols;
  const uint8_t* panel = static_cast<const uint8_t*>(args.packed) + p * panel_bytes;
  const float* src[(rows + kReach - 1) / kReach];
#pragma GCC unroll 12
  for (int r = 0; r < rows; r += kReach) src[r / kReach] = args.src + (row + r) * cols;
  VecF32 acc[rows][panels * kParts];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < panels * kParts; ++i) acc[r][i] = hn::Zero(df);
  }
  for (int64_t k = 0; k < cols; ++k, panel += kBytes) {
    VecF32 w[panels * kParts];
    for (int i = 0; i < panels; ++i) prefetch(panel + i * panel_bytes, kBytes, ahead);
    for (int i = 0; i < panels * kParts; ++i) w[i] = load_weights<type>(panel + i / kParts * panel_bytes, i % kParts);
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
      const VecF32 a = hn::Set(df, src[r / kReach][r % kReach * cols]);
      for (int i = 0; i < panels * kParts; ++i) acc[r][i] = hn::MulAdd(w[i], a, acc[r][i]);
    }
    for (auto& from : src) ++from;
  }
  store_plain<rows, panels>(args, row, p, acc);
}

/// Tiles of 1, 2, ... rows.
template <DType type, int panels, int64_t ahead, size_t... i>
constexpr std::array<FloatTile, kPlainRows> plain_tiles(std::index_sequence<i...>) {
  return {plain_tile<type, panels, static_cast<int>(i) + 1, ahead>...};
}

template <DType type>
void run_plain(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  static constexpr auto kOne = plain_tiles<type, 1, kPrefetchBytes>(std::make_index_sequence<kPlainRows>());
  static constexpr auto kMany = plain_tiles<type, kManyPanels, kCacheAhead>(std::make_index_sequence<kPlainRows>());
  constexpr FloatTiles kTiles{kPlainRows, kManyPanels, kFewRows, kOne.data(), kMany.data()};
  run_float_tiles(args, kTiles, float_panel_bytes(type, args.matrix.cols), begin, end);
}

/// Rows of bf16 become floats, as many at a time as the stack has room for, and meet weights of bf16.
void run_rounded(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  const int64_t cols = args.matrix.cols, stride = padded_cols(cols);
  const int64_t fit = std::min<int64_t>(kPlainRows, kMostRoundedCols / stride);
  alignas(64) float src[kMostRoundedCols];
  LinearArgs some = args;
  some.src = src;
  for (int64_t row = 0, tiles = (args.n + fit - 1) / fit; tiles > 0; --tiles, row += some.n) {
    some.n = (args.n - row + tiles - 1) / tiles;
    some.dst = args.dst + row * args.dst_stride;
    for (int64_t r = 0; r < some.n; ++r) {
      const uint16_t* from = args.src_bf16 + (row + r) * stride;
      for (int64_t k = 0; k < cols; k += kLanes) hn::StoreU(widen(from + k), F32(), src + r * cols + k);
    }
    run_plain<DType::bf16>(some, begin, end);
  }
}

struct Runs {
  static constexpr auto rounded = run_rounded;
  template <DType type, int planes>
  static constexpr auto quantised = run_panels<type, planes, Interleaved<type> >;
  template <DType type>
  static constexpr auto plain = run_plain<type>;
};

#endif  // scalar or vectors

LinearLists linear_lists(const char* target) { return LinearLists(LinearKernels<Runs>{target}); }

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
