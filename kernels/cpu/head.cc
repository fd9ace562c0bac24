// Split panels for every Highway target: the product over both parts, and the screen over the high one, whose nibbles
// meet activations like the codes of Q4_0: a whole block adds up in 16 bits.
// Next in the flow: kernels/cpu/head_vnni.cc, the same with byte dot products.
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/head.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <limits>

#include "kernels/cpu/head_scalar.h"
#include "kernels/cpu/linear-inl.h"
#include "kernels/cpu/split_cursor.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

using HeadRuns = scalar::HeadRuns;

#else

// ---- the product --------------------------------------------------------------------------------------------------

/// Quads j and j + 4 of a block from both parts, as codes a product reads: signed for q8_0.
template <DType type, int j>
HWY_INLINE void join_pair(const uint8_t* HWY_RESTRICT high, const uint8_t* HWY_RESTRICT low,
                          uint8_t* HWY_RESTRICT codes) {
  const U8 d8;
  for (int p = 0; p < kVectorBytes; p += kPartBytes) {
    const VecU8 upper = hn::LoadU(d8, high + j * kVectorBytes + p);
    VecU8 first, second;
    if constexpr (type == DType::q8_0) {
      const VecU8 lower = hn::LoadU(d8, low + j * kVectorBytes + p);
      const VecU8 mask = hn::Set(d8, 0xF0), sign = hn::Set(d8, 0x80);
      first = hn::Xor(sign, hn::Or(hn::And(mask, shift_left<4>(upper)), hn::AndNot(mask, lower)));
      second = hn::Xor(sign, hn::Or(hn::And(mask, upper), hn::AndNot(mask, shift_left<-4>(lower))));
    } else {
      const VecU8 mask = hn::Set(d8, 0x3C), pair = hn::Set(d8, 3);
      const VecU8 low_first = hn::And(pair, shift_left<-2 * j>(hn::LoadU(d8, low + p)));
      const VecU8 low_second = hn::And(pair, shift_left<-2 * j>(hn::LoadU(d8, low + kVectorBytes + p)));
      first = hn::Or(hn::And(mask, shift_left<2>(upper)), low_first);
      second = hn::Or(hn::And(mask, shift_left<-2>(upper)), low_second);
    }
    hn::Store(first, d8, codes + j * kVectorBytes + p);
    hn::Store(second, d8, codes + (j + 4) * kVectorBytes + p);
  }
}

/// A panel in two streams, its blocks joined.
template <DType type>
struct Split : SplitCursor<type> {
  using SplitCursor<type>::SplitCursor;
  HWY_INLINE const uint8_t* unpack(int run, uint8_t* HWY_RESTRICT buffer) const {
    const auto at = this->block(run);
    join_pair<type, 0>(at.high, at.low, buffer);
    join_pair<type, 1>(at.high, at.low, buffer);
    join_pair<type, 2>(at.high, at.low, buffer);
    join_pair<type, 3>(at.high, at.low, buffer);
    return buffer;
  }
};

/// Listed panels for one row.
template <DType type, int planes>
void list_tile(const LinearArgs& args, const int32_t* panels, int64_t n_panels) {
  const TileRange range{0, 0, 0, 0, args.matrix.cols / kQuantBlock};
  alignas(64) uint8_t records[kTileBytes];
  gather_tile<type, kPanelFormat<type>.zero, 1, planes>(args.src_quant, 0, 0, range.block_end, records);
  for (int64_t i = 0; i < n_panels; ++i) {
    const int32_t* next = panels + (i + 1 < n_panels ? i + 1 : i);
    panel_tile<type, 1, planes>(args, range, panels[i], Split<type>(args, panels + i, next), records);
  }
}

// ---- the screen ---------------------------------------------------------------------------------------------------

constexpr int kScreenTogether = kParts == 1 ? 4 : 2;

/// Sums of a tile's rows on their way to bounds.
template <int rows>
struct TileSums {
  alignas(64) float middle[rows][kPanelRows];  // twice the screen's logit
  alignas(64) float radius[rows][kPanelRows];
};

/// Twice what quads [begin, end) give with the centre for the low part.
template <DType type, int begin, int end, int planes, int n>
HWY_INLINE void screen_dot(const uint8_t* codes, const uint8_t* a, int low_plane, const uint8_t* corrections,
                           VecF32 (&value)[n][kParts]) {
  VecI32 sum[n][kParts];
  for (int r = 0; r < n; ++r) {
    for (int p = 0; p < kParts; ++p) sum[r][p] = hn::Zero(I32());
  }
  dot_planes<DType::q4_0, begin, end, planes>(codes, a, low_plane, sum);
  for (int r = 0; r < n; ++r) {
    for (int p = 0; p < kParts; ++p) {
      const VecI32 twice = hn::ShiftLeft<kSplitFormat<type>.value_shift>(sum[r][p]);
      value[r][p] = hn::ConvertTo(F32(), hn::Add(twice, broadcast_int(corrections + 4 * r)));
    }
  }
}

/// One block of rows [r0, r0 + n) of a record; spread[i * spread_stride] is row r0 + i's.
template <DType type, int rows, int planes, int n>
HWY_INLINE void screen_step(const uint8_t* codes, const BlockScales<type>& s, const uint8_t* record, int r0,
                            const float* spread, int64_t spread_stride, TileSums<rows>& sums) {
  using Record = TileRecord<type, rows, planes>;
  constexpr bool kTwo = kPanelFormat<type>.coding == Coding::two_scales;
  constexpr int kFirstEnd = kTwo ? kQuads / 2 : kQuads;
  const F32 df;
  const uint8_t* a = record + r0 * kQuantBlock;
  const uint8_t* corrections = record + Record::kCorrection + 4 * r0;
  VecF32 value[n][kParts], upper[n][kParts];
  screen_dot<type, 0, kFirstEnd, planes>(codes, a, Record::kLow, corrections, value);
  if constexpr (kTwo)
    screen_dot<type, kFirstEnd, kQuads, planes>(codes, a, Record::kLow, corrections + 4 * rows, upper);
  for (int r = 0; r < n; ++r) {
    const VecF32 scale = broadcast_float(record + Record::kScales + 4 * (r0 + r));
    for (int p = 0; p < kParts; ++p) {
      float* middle = sums.middle[r0 + r] + p * kLanes;
      float* radius = sums.radius[r0 + r] + p * kLanes;
      VecF32 v = value[r][p], first = s.a[p], reach = hn::Load(df, radius);
      if constexpr (kTwo) {
        v = hn::MulAdd(upper[r][p], s.c[p], hn::Mul(v, s.b[p]));
        first = hn::Mul(s.a[p], s.b[p]);
        reach = hn::MulAdd(hn::Abs(hn::Mul(s.a[p], s.c[p])), hn::Set(df, spread[r * spread_stride + 1]), reach);
      }
      hn::Store(hn::MulAdd(v, hn::Mul(s.a[p], scale), hn::Load(df, middle)), df, middle);
      hn::Store(hn::MulAdd(hn::Abs(first), hn::Set(df, spread[r * spread_stride]), reach), df, radius);
    }
  }
}

/// The radius from norms alone, for each row of a tile.
template <int rows>
HWY_INLINE void start_sums(const uint8_t* norms, int64_t groups, const float* prepared, int64_t stride,
                           TileSums<rows>& sums) {
  const F32 df;
  const hn::Rebind<uint16_t, I32> d16;
  for (int p = 0; p < kParts; ++p) {
    const auto half = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(norms) + p * kLanes);
    const VecF32 scale = hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(I32(), half)));
    for (int r = 0; r < rows; ++r) {
      hn::Store(hn::Zero(df), df, sums.middle[r] + p * kLanes);
      VecF32 radius = hn::Set(df, kLeastRadius);
      for (int64_t g = 0; g < groups; ++g) {
        const VecF32 norm = hn::Mul(scale, load_bytes(norms + kScaleBytes + g * kPanelRows, p));
        radius = hn::MulAdd(norm, hn::Set(df, prepared[r * stride + g]), radius);
      }
      hn::Store(radius, df, sums.radius[r] + p * kLanes);
    }
  }
}

/// Bounds of a panel for one row: middle / 2 -+ radius, then the bias; infinite where nothing is proven.
HWY_INLINE void store_bounds(const float* middle, const float* radius, const float* bias, float* lower, float* upper) {
  const F32 df;
  const VecF32 infinity = hn::Set(df, std::numeric_limits<float>::infinity());
  for (int p = 0; p < kPanelRows; p += kLanes) {
    const VecF32 half = hn::Mul(hn::Load(df, middle + p), hn::Set(df, 0.5f)), reach = hn::Load(df, radius + p);
    const VecF32 low = hn::Add(hn::Sub(half, reach), hn::Load(df, bias + p));
    const VecF32 high = hn::Add(hn::Add(half, reach), hn::Load(df, bias + p));
    const auto proven = hn::And(hn::Lt(reach, hn::Set(df, kLargestRadius)), hn::Le(low, high));
    hn::StoreU(hn::IfThenElse(proven, low, hn::Neg(infinity)), df, lower + p);
    hn::StoreU(hn::IfThenElse(proven, high, infinity), df, upper + p);
  }
}

template <DType type, int rows, int planes>
void screen_tile(const ScreenArgs& args, int64_t row, int64_t begin, int64_t end) {
  using Layout = SplitLayout<type>;
  constexpr int kShares = kQuantBlock / Layout::kSplit.scale_inputs;
  const Layout layout(args.matrix);
  const int64_t stride = ScreenRow::floats<type>(args.matrix.cols);
  const float* prepared = args.prepared + row * stride;
  alignas(64) uint8_t records[kTileBytes];
  alignas(64) uint8_t codes[kQuads * kVectorBytes];
  gather_tile<type, Layout::kSplit.value_zero, rows, planes>(args.src_quant, row, 0, layout.blocks, records);
  for (int64_t p = begin; p < end; ++p) {
    const uint8_t* head = static_cast<const uint8_t*>(args.packed) + layout.high_at(p);
    TileSums<rows> sums;
    start_sums<rows>(head, layout.groups, prepared, stride, sums);
    head += layout.norm_bytes;
    const uint8_t* record = records;
    const float* spread = prepared + kMaxGroups;
    for (int64_t b = 0; b < layout.blocks; b += Layout::kPanel.blocks(), head += Layout::kHighUnitBytes) {
      for (int run = 0; run < Layout::kPanel.blocks(); ++run) {
        const uint8_t* block = head + Layout::kPanel.head_bytes + run * Layout::kHighBlockBytes;
        prefetch(block, Layout::kHighUnitBytes / Layout::kPanel.blocks());
        unpack<DType::q4_0>(block, codes);
        const BlockScales<type> scales(head, run);
        constexpr int kWhole = rows / kScreenTogether * kScreenTogether;
        for (int r = 0; r < kWhole; r += kScreenTogether)
          screen_step<type, rows, planes, kScreenTogether>(codes, scales, record, r, spread + r * stride, stride, sums);
        if constexpr (kWhole < rows)
          screen_step<type, rows, planes, rows - kWhole>(codes, scales, record, kWhole, spread + kWhole * stride,
                                                         stride, sums);
        record += TileRecord<type, rows, planes>::kBytes;
        spread += kShares;
      }
    }
    alignas(64) float bias[kPanelRows] = {};
    const int64_t o = p * kPanelRows, outputs = std::min<int64_t>(kPanelRows, args.matrix.rows - o);
    if (args.bias != nullptr) std::memcpy(bias, args.bias + o, static_cast<size_t>(outputs) * sizeof(float));
    for (int r = 0; r < rows; ++r) {
      const int64_t at = (row + r) * args.dst_stride + (p - begin) * kPanelRows;
      store_bounds(sums.middle[r], sums.radius[r], bias, args.lower + at, args.upper + at);
    }
  }
}

struct HeadRuns {
  template <DType type, int planes>
  static constexpr auto split = run_panels<type, planes, Split<type> >;

  template <DType type, int planes>
  static void listed(const LinearArgs& args, const int32_t* panels, int64_t n_panels) noexcept {
    list_tile<type, planes>(args, panels, n_panels);
  }

  template <DType type, int planes>
  static void screen(const ScreenArgs& args, int64_t begin, int64_t end) noexcept {
    constexpr ScreenTileFn kTiles[8] = {screen_tile<type, 1, planes>, screen_tile<type, 2, planes>,
                                        screen_tile<type, 3, planes>, screen_tile<type, 4, planes>,
                                        screen_tile<type, 5, planes>, screen_tile<type, 6, planes>,
                                        screen_tile<type, 7, planes>, screen_tile<type, 8, planes>};
    run_screen_tiles(args, kTiles, begin, end);
  }
};

#endif  // scalar or vectors

}  // namespace

void add_head_kernels(const char* target, LinearLists& lists) { lists.add_heads(LinearKernels<HeadRuns>{target}); }

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
