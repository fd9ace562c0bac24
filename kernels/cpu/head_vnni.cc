// Split panels with AVX-512 VNNI: the product over both parts, and the screen over the high one. A screen's block is
// four vectors of nibbles in place of q8_0's eight, unpacked once for up to eight rows; each row costs the same byte
// products and float steps as a product of Q4_0, and a fused step for each scale of the radius.
// Next in the flow: kernels/cpu/tables.cc.
#include "kernels/cpu/amx.h"
#include "kernels/cpu/linear_vnni.h"

#if defined(__x86_64__)
#include "kernels/cpu/linear_amx-inl.h"
#include "kernels/cpu/split_cursor.h"

FATHOM_TARGET_BEGIN(FATHOM_VNNI)

namespace fathom::kernels::vnni {
namespace {

// ---- the product --------------------------------------------------------------------------------------------------

/// (from_mask & mask) | (other & ~mask)
FATHOM_INLINE __m512i select(__m512i mask, __m512i from_mask, __m512i other) {
  return _mm512_ternarylogic_epi32(mask, from_mask, other, 0xCA);
}

/// Quads j and j + 4 of a block from both parts.
template <DType type, int j>
FATHOM_INLINE void join_pair(const uint8_t* high, const uint8_t* low, __m512i* w) {
  const __m512i upper = load(high + j * kVectorBytes);
  if constexpr (type == DType::q8_0) {
    const __m512i mask = _mm512_set1_epi8(static_cast<char>(0xF0)), lower = load(low + j * kVectorBytes);
    w[j] = select(mask, shift_left<4>(upper), lower);
    w[j + 4] = select(mask, upper, shift_left<-4>(lower));
  } else {
    const __m512i mask = _mm512_set1_epi8(0x3C), pair = _mm512_set1_epi8(3);
    const __m512i first = shift_left<-2 * j>(load(low)), second = shift_left<-2 * j>(load(low + kVectorBytes));
    w[j] = insert(_mm512_and_si512(first, pair), shift_left<2>(upper), mask);
    w[j + 4] = insert(_mm512_and_si512(second, pair), shift_left<-2>(upper), mask);
  }
}

/// A panel in two streams, its blocks joined.
template <DType type>
struct Split : SplitCursor<type> {
  using SplitCursor<type>::SplitCursor;
  FATHOM_INLINE void unpack(int run, __m512i* w) const {
    const auto at = this->block(run);
    join_pair<type, 0>(at.high, at.low, w);
    join_pair<type, 1>(at.high, at.low, w);
    join_pair<type, 2>(at.high, at.low, w);
    join_pair<type, 3>(at.high, at.low, w);
  }
};

/// Listed panels for one row.
template <DType type, int planes>
void list_tile(const LinearArgs& args, const int32_t* panels, int64_t n_panels) {
  const TileRange range{0, 0, 0, 0, args.matrix.cols / kQuantBlock};
  alignas(64) uint8_t records[kTileBytes];
  gather_tile<type, kZero<type>, 1, planes>(args.src_quant, 0, 0, range.block_end, records);
  for (int64_t i = 0; i < n_panels; ++i) {
    const int32_t* next = panels + (i + 1 < n_panels ? i + 1 : i);
    panel_tile<type, 1, planes>(args, range, panels[i], Split<type>(args, panels + i, next), records);
  }
}

// ---- the screen ---------------------------------------------------------------------------------------------------

FATHOM_INLINE __m512 absolute(__m512 x) { return _mm512_abs_ps(x); }

/// Sums of one row of a tile on their way to bounds.
struct RowSums {
  __m512 middle;  // twice the screen's logit
  __m512 radius;
};

/// Twice what quads [begin, end) give with the centre for the low part.
template <DType type, int begin, int end, int planes, int n>
FATHOM_INLINE void screen_dot(const __m512i* w, const uint8_t* a, int low_plane, const uint8_t* corrections,
                              __m512 (&value)[n]) {
  __m512i sum[n];
  dot_planes<begin, end, planes>(w, a, low_plane, nullptr, sum);
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    const __m512i twice = _mm512_slli_epi32(sum[i], kSplitFormat<type>.value_shift);
    value[i] = _mm512_cvtepi32_ps(_mm512_add_epi32(twice, broadcast_int(corrections + 4 * i)));
  }
}

/// One block of rows [r0, r0 + n) of a record; spread[i * spread_stride] is row r0 + i's.
template <DType type, int rows, int planes, int n>
FATHOM_INLINE void screen_step(const __m512i* w, const BlockScales<type>& s, const uint8_t* record, int r0,
                               const float* spread, int64_t spread_stride, RowSums* sums) {
  using Record = TileRecord<type, rows, planes>;
  constexpr bool kTwo = kPanelFormat<type>.coding == Coding::two_scales;
  constexpr int kFirstEnd = kTwo ? kQuads / 2 : kQuads;
  const uint8_t* a = record + r0 * kQuantBlock;
  const uint8_t* corrections = record + Record::kCorrection + 4 * r0;
  __m512 value[n];
  screen_dot<type, 0, kFirstEnd, planes>(w, a, Record::kLow, corrections, value);
  if constexpr (kTwo) {
    __m512 upper[n];
    screen_dot<type, kFirstEnd, kQuads, planes>(w, a, Record::kLow, corrections + 4 * rows, upper);
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) value[i] = _mm512_fmadd_ps(upper[i], s.c, _mm512_mul_ps(value[i], s.b));
  }
  const __m512 first = absolute(kTwo ? _mm512_mul_ps(s.a, s.b) : s.a);
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    RowSums& row = sums[r0 + i];
    const __m512 scale = broadcast_float(record + Record::kScales + 4 * (r0 + i));
    row.middle = _mm512_fmadd_ps(value[i], _mm512_mul_ps(s.a, scale), row.middle);
    row.radius = _mm512_fmadd_ps(first, _mm512_set1_ps(spread[i * spread_stride]), row.radius);
    if constexpr (kTwo) {
      const __m512 second = absolute(_mm512_mul_ps(s.a, s.c));
      row.radius = _mm512_fmadd_ps(second, _mm512_set1_ps(spread[i * spread_stride + 1]), row.radius);
    }
  }
}

/// The radius from norms alone, for each row of a tile.
template <int rows>
FATHOM_INLINE void start_sums(const uint8_t* norms, int64_t groups, const float* prepared, int64_t stride,
                              RowSums* sums) {
  const __m512i half = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(norms)));
  const __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
  for (int r = 0; r < rows; ++r) sums[r] = {_mm512_setzero_ps(), _mm512_set1_ps(kLeastRadius)};
  for (int64_t g = 0; g < groups; ++g) {
    const __m512 norm = _mm512_mul_ps(scale, unsigned_bytes(load_16(norms + kScaleBytes + g * kPanelRows)));
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r)
      sums[r].radius = _mm512_fmadd_ps(norm, _mm512_set1_ps(prepared[r * stride + g]), sums[r].radius);
  }
}

/// Bounds of a panel for one row: middle / 2 -+ radius, then the bias; infinite where nothing is proven.
FATHOM_INLINE void store_bounds(const RowSums& row, __m512 bias, float* lower, float* upper) {
  const __m512 infinity = _mm512_set1_ps(__builtin_inff()), half = _mm512_set1_ps(0.5f);
  const __mmask16 proven = _mm512_cmp_ps_mask(row.radius, _mm512_set1_ps(kLargestRadius), _CMP_LT_OQ);
  const __m512 middle = _mm512_mul_ps(row.middle, half);
  const __m512 low = _mm512_add_ps(_mm512_sub_ps(middle, row.radius), bias);
  const __m512 high = _mm512_add_ps(_mm512_add_ps(middle, row.radius), bias);
  const __mmask16 numbers = _mm512_mask_cmp_ps_mask(proven, low, high, _CMP_LE_OQ);
  _mm512_storeu_ps(lower, _mm512_mask_blend_ps(numbers, _mm512_sub_ps(_mm512_setzero_ps(), infinity), low));
  _mm512_storeu_ps(upper, _mm512_mask_blend_ps(numbers, infinity, high));
}

template <DType type, int rows, int planes>
void screen_tile(const ScreenArgs& args, int64_t row, int64_t begin, int64_t end) {
  using Layout = SplitLayout<type>;
  constexpr int kShares = kQuantBlock / Layout::kSplit.scale_inputs;
  const Layout layout(args.matrix);
  const int64_t stride = ScreenRow::floats<type>(args.matrix.cols);
  const float* prepared = args.prepared + row * stride;
  alignas(64) uint8_t records[kTileBytes];
  gather_tile<type, Layout::kSplit.value_zero, rows, planes>(args.src_quant, row, 0, layout.blocks, records);
  for (int64_t p = begin; p < end; ++p) {
    const uint8_t* head = static_cast<const uint8_t*>(args.packed) + layout.high_at(p);
    RowSums sums[rows];
    start_sums<rows>(head, layout.groups, prepared, stride, sums);
    head += layout.norm_bytes;
    const uint8_t* record = records;
    const float* spread = prepared + kMaxGroups;
    for (int64_t b = 0; b < layout.blocks; b += Layout::kPanel.blocks(), head += Layout::kHighUnitBytes) {
      for (int run = 0; run < Layout::kPanel.blocks(); ++run) {
        const uint8_t* block = head + Layout::kPanel.head_bytes + run * Layout::kHighBlockBytes;
        prefetch(block, Layout::kHighUnitBytes / Layout::kPanel.blocks());
        __m512i w[kQuads];
        unpack_pair<DType::q4_0, 0>(block, w);
        unpack_pair<DType::q4_0, 1>(block, w);
        unpack_pair<DType::q4_0, 2>(block, w);
        unpack_pair<DType::q4_0, 3>(block, w);
        const BlockScales<type> scales(head, run);
        constexpr int kWhole = rows / kTogether * kTogether;
#pragma GCC unroll 2
        for (int r = 0; r < kWhole; r += kTogether)
          screen_step<type, rows, planes, kTogether>(w, scales, record, r, spread + r * stride, stride, sums);
        if constexpr (kWhole < rows)
          screen_step<type, rows, planes, rows - kWhole>(w, scales, record, kWhole, spread + kWhole * stride, stride,
                                                         sums);
        record += TileRecord<type, rows, planes>::kBytes;
        spread += kShares;
      }
    }
    const int64_t outputs = args.matrix.rows - p * kPanelRows;
    const auto lanes = static_cast<__mmask16>(outputs >= kPanelRows ? 0xFFFF : (1 << outputs) - 1);
    const __m512 bias =
        args.bias != nullptr ? _mm512_maskz_loadu_ps(lanes, args.bias + p * kPanelRows) : _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const int64_t at = (row + r) * args.dst_stride + (p - begin) * kPanelRows;
      store_bounds(sums[r], bias, args.lower + at, args.upper + at);
    }
  }
}

}  // namespace
}  // namespace fathom::kernels::vnni

FATHOM_TARGET_END

namespace fathom::kernels::vnni {
namespace {

struct HeadRuns {
  template <DType type, int planes>
  static constexpr auto split = run_panels<type, planes, Split<type>>;

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

/// The same with products by tiles; screens are for few rows.
struct TileHeadRuns : HeadRuns {
  template <DType type, int planes>
  static constexpr auto split = run_panels_by_tiles<type, planes, Split<type>>;
};

}  // namespace

void replace_heads(LinearLists& lists) { lists.add_heads(LinearKernels<HeadRuns>{"cpu/avx512vnni"}); }

}  // namespace fathom::kernels::vnni

void fathom::kernels::amx::replace_heads(LinearLists& lists) {
  lists.add_heads(LinearKernels<vnni::TileHeadRuns>{"cpu/amx"});
}
#endif  // __x86_64__
