// What the AVX-512 VNNI kernels share: codes and scales of a block in registers, byte products of a few rows, one tile.
// Included by linear_vnni.cc (one stream) and head_vnni.cc (split panels); x86-64 only.
#pragma once

// g++ 12 warns of the headers' own undefined vectors (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "kernels/cpu/linear_targets.h"
#include "kernels/cpu/linear_tile.h"
#include "kernels/cpu/target_region.h"

#define FATHOM_VNNI "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"

FATHOM_TARGET_BEGIN(FATHOM_VNNI)

namespace fathom::kernels::vnni {
namespace {

template <DType type>
inline constexpr int kZero = kPanelFormat<type>.signed_codes ? 128 : kPanelFormat<type>.zero;

FATHOM_INLINE __m512i load(const uint8_t* p) { return _mm512_loadu_si512(p); }

FATHOM_INLINE __m512i broadcast_int(const uint8_t* p) {
  int x;
  __builtin_memcpy(&x, p, 4);
  return _mm512_set1_epi32(x);
}

FATHOM_INLINE __m512 broadcast_float(const uint8_t* p) { return _mm512_castsi512_ps(broadcast_int(p)); }

FATHOM_INLINE __m512 load_half(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

FATHOM_INLINE __m512 unsigned_bytes(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)); }

FATHOM_INLINE __m128i load_16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

FATHOM_INLINE __m512 load_signed(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_16(p))); }

template <int bits>
FATHOM_INLINE __m512i shift_left(__m512i v) {
  if constexpr (bits > 0) return _mm512_slli_epi16(v, bits);
  if constexpr (bits < 0) return _mm512_srli_epi16(v, -bits);
  return v;
}

/// (bits & mask) | code
FATHOM_INLINE __m512i insert(__m512i code, __m512i bits, __m512i mask) {
  return _mm512_ternarylogic_epi32(code, bits, mask, 0xF8);
}

/// Quads j and j + 4 of a block.
template <DType type, int j>
FATHOM_INLINE void unpack_pair(const uint8_t* block, __m512i* w) {
  constexpr PanelFormat f = kPanelFormat<type>;
  if constexpr (f.signed_codes) {
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
    w[j] = _mm512_xor_si512(load(block + j * kVectorBytes), offset);
    w[j + 4] = _mm512_xor_si512(load(block + (j + 4) * kVectorBytes), offset);
  } else {
    const __m512i nibble = _mm512_set1_epi8(0x0F), both = load(block + j * kVectorBytes);
    w[j] = _mm512_and_si512(both, nibble);
    w[j + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
    if constexpr (f.max_code == 31) {
      const __m512i bit = _mm512_set1_epi8(0x10), fifth = load(block + 4 * kVectorBytes);
      w[j] = insert(w[j], shift_left<4 - j>(fifth), bit);
      w[j + 4] = insert(w[j + 4], shift_left<-j>(fifth), bit);
    }
    if constexpr (f.max_code == 63) {
      const __m512i bits = _mm512_set1_epi8(0x30);
      w[j] = insert(w[j], shift_left<4 - 2 * j>(load(block + 4 * kVectorBytes)), bits);
      w[j + 4] = insert(w[j + 4], shift_left<4 - 2 * j>(load(block + 5 * kVectorBytes)), bits);
    }
  }
}

/// What turns integer sums of a block into floats.
template <DType type>
struct BlockScales {
  __m512 a, b, c;

  FATHOM_INLINE BlockScales(const uint8_t* head, int run) {
    constexpr PanelFormat f = kPanelFormat<type>;
    if constexpr (f.coding == Coding::zero_point) {
      a = load_half(head);
    } else if constexpr (f.coding == Coding::minimum) {
      const __m128i low = load_16(head + kLowScales + run * kPanelRows), nibble = _mm_set1_epi8(0x0F);
      const __m128i pair = load_16(head + kHighScales + run / 2 * kPanelRows), bits = _mm_set1_epi8(0x30);
      const __m128i high = _mm_srl_epi16(pair, _mm_cvtsi32_si128(run % 2 * 4));
      const __m128i scale = _mm_or_si128(_mm_and_si128(low, nibble), _mm_and_si128(_mm_slli_epi16(high, 4), bits));
      const __m128i min =
          _mm_or_si128(_mm_and_si128(_mm_srli_epi16(low, 4), nibble), _mm_and_si128(_mm_slli_epi16(high, 2), bits));
      a = _mm512_mul_ps(load_half(head), unsigned_bytes(scale));
      b = _mm512_mul_ps(load_half(head + kScaleBytes), unsigned_bytes(min));
    } else {
      a = load_half(head);
      b = load_signed(head + kScaleBytes + 2 * run * kPanelRows);
      c = load_signed(head + kScaleBytes + (2 * run + 1) * kPanelRows);
    }
  }
};

constexpr int kTogether = 4;  // rows whose products alternate: those of one row alone wait for one another

/// sum[i] += codes times activations of row i over quads [begin, end); rows lie 32 bytes apart.
template <int begin, int end, int n>
FATHOM_INLINE void dot(const __m512i* w, const uint8_t* a, __m512i (&sum)[n]) {
#pragma GCC unroll 8
  for (int q = begin; q < end; ++q) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], w[q], broadcast_int(a + i * kQuantBlock + 4 * q));
  }
}

/// sum[i] = corrections[i] + the same over all planes: 16 times the high one and the low one.
template <int begin, int end, int planes, int n>
FATHOM_INLINE void dot_planes(const __m512i* w, const uint8_t* a, int low_plane, const uint8_t* corrections,
                              __m512i (&sum)[n]) {
  const auto correction = [&](int i) __attribute__((always_inline)) {
    return corrections != nullptr ? broadcast_int(corrections + 4 * i) : _mm512_setzero_si512();
  };
  for (int i = 0; i < n; ++i) sum[i] = planes == 1 ? correction(i) : _mm512_setzero_si512();
  dot<begin, end>(w, a, sum);
  if constexpr (planes == 1) return;
  for (int i = 0; i < n; ++i) sum[i] = _mm512_add_epi32(_mm512_slli_epi32(sum[i], 4), correction(i));
  dot<begin, end>(w, a + low_plane, sum);
}

/// One block of rows [r0, r0 + n) of a record.
template <DType type, int rows, int planes, int n>
FATHOM_INLINE void block_step(const __m512i* w, const BlockScales<type>& s, const uint8_t* record, int r0,
                              __m512* acc) {
  using Record = TileRecord<type, rows, planes>;
  constexpr PanelFormat f = kPanelFormat<type>;
  const uint8_t* a = record + r0 * kQuantBlock;
  const uint8_t* corrections = record + Record::kCorrection + 4 * r0;
  constexpr int kFirstEnd = f.coding == Coding::two_scales ? kQuads / 2 : kQuads;
  __m512i sum[n];
  dot_planes<0, kFirstEnd, planes>(w, a, Record::kLow, f.coding == Coding::minimum ? nullptr : corrections, sum);
  __m512 t[n];  // of type zero_point the sum itself
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    t[i] = _mm512_cvtepi32_ps(sum[i]);
    if constexpr (f.coding == Coding::minimum)
      t[i] = _mm512_fnmadd_ps(s.b, broadcast_float(corrections + 4 * i), _mm512_mul_ps(t[i], s.a));
  }
  if constexpr (f.coding == Coding::two_scales) {
    dot_planes<kFirstEnd, kQuads, planes>(w, a, Record::kLow, corrections + 4 * rows, sum);
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) t[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i]), s.c, _mm512_mul_ps(t[i], s.b));
  }
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    const __m512 scale = broadcast_float(record + Record::kScales + 4 * (r0 + i));
    acc[r0 + i] = f.coding == Coding::minimum ? _mm512_fmadd_ps(scale, t[i], acc[r0 + i])
                                              : _mm512_fmadd_ps(t[i], _mm512_mul_ps(s.a, scale), acc[r0 + i]);
  }
}

/// The sums of row `row` of a panel between segments; lanes past the last output stay out.
FATHOM_INLINE __m512 load_sums(const LinearArgs& args, int64_t row, int64_t p, __mmask16 lanes) {
  return _mm512_maskz_loadu_ps(lanes, args.dst + row * args.dst_stride + p * kPanelRows);
}

FATHOM_INLINE void store_sums(const LinearArgs& args, int64_t row, int64_t p, __mmask16 lanes, bool last, __m512 sums) {
  if (last && args.bias != nullptr)
    sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(lanes, args.bias + p * kPanelRows));
  _mm512_mask_storeu_ps(args.dst + row * args.dst_stride + p * kPanelRows, lanes, sums);
}

/// A panel in one stream (panel.h), read unit by unit.
template <DType type>
struct Interleaved {
  static constexpr PanelFormat kFormat = kPanelFormat<type>;
  const uint8_t* head;  // of the unit

  FATHOM_INLINE Interleaved(const LinearArgs& args, int64_t panel, int64_t block)
      : head(static_cast<const uint8_t*>(args.packed) +
             static_cast<size_t>(panel) * panel_bytes(kFormat, args.matrix.cols) +
             static_cast<size_t>(block / kFormat.blocks()) * kFormat.unit_bytes()) {}

  /// Codes of a block as they lie; what is read later is asked for.
  FATHOM_INLINE const uint8_t* plain_codes(int run) const {
    const uint8_t* codes = head + kFormat.head_bytes + run * kFormat.block_bytes;
    prefetch(codes, kFormat.unit_bytes() / kFormat.blocks());
    return codes;
  }

  FATHOM_INLINE void unpack(int run, __m512i* w) const {
    const uint8_t* block = plain_codes(run);
    unpack_pair<type, 0>(block, w);
    unpack_pair<type, 1>(block, w);
    unpack_pair<type, 2>(block, w);
    unpack_pair<type, 3>(block, w);
  }

  FATHOM_INLINE void next_unit() { head += kFormat.unit_bytes(); }
};

/// One panel over the units of a segment whose records start at `record`.
template <DType type, int rows, int planes, class Panel>
FATHOM_INLINE void panel_step(Panel panel, int64_t units, const uint8_t* record, __m512* acc) {
  for (int64_t u = 0; u < units; ++u, panel.next_unit()) {
    for (int run = 0; run < kPanelFormat<type>.blocks(); ++run, record += TileRecord<type, rows, planes>::kBytes) {
      __m512i w[kQuads];
      panel.unpack(run, w);
      const BlockScales<type> scales(panel.head, run);
      constexpr int kWhole = rows / kTogether * kTogether;
#pragma GCC unroll 4
      for (int r = 0; r < kWhole; r += kTogether) block_step<type, rows, planes, kTogether>(w, scales, record, r, acc);
      if constexpr (kWhole < rows) block_step<type, rows, planes, rows - kWhole>(w, scales, record, kWhole, acc);
    }
  }
}

FATHOM_INLINE __mmask16 lanes_of(const LinearArgs& args, int64_t panel) {
  const int64_t outputs = args.matrix.rows - panel * kPanelRows;
  return static_cast<__mmask16>(outputs >= kPanelRows ? 0xFFFF : (1 << outputs) - 1);
}

/// Panel p of a tile, from the records of its segment.
template <DType type, int rows, int planes, class Panel>
FATHOM_INLINE void panel_tile(const LinearArgs& args, const TileRange& range, int64_t p, const Panel& panel,
                              const uint8_t* records) {
  constexpr PanelFormat f = kPanelFormat<type>;
  const bool last = range.block_end == args.matrix.cols / kQuantBlock;
  const __mmask16 lanes = lanes_of(args, p);
  __m512 acc[rows];
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r)
    acc[r] = range.block == 0 ? _mm512_setzero_ps() : load_sums(args, range.row + r, p, lanes);
  panel_step<type, rows, planes>(panel, (range.block_end - range.block) / f.blocks(), records, acc);
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) store_sums(args, range.row + r, p, lanes, last, acc[r]);
}

template <DType type, int rows, int planes, class Panel>
void tile(const LinearArgs& args, const TileRange& range) {
  alignas(64) uint8_t records[kTileBytes];
  gather_tile<type, kZero<type>, rows, planes>(args.src_quant, range.row, range.block, range.block_end - range.block,
                                               records);
  for (int64_t p = range.begin; p < range.end; ++p)
    panel_tile<type, rows, planes>(args, range, p, Panel(args, p, range.block), records);
}

}  // namespace
}  // namespace fathom::kernels::vnni

FATHOM_TARGET_END

namespace fathom::kernels::vnni {
namespace {

template <DType type, int planes, class Panel>
constexpr TileFn kTilesOfRows[8] = {tile<type, 1, planes, Panel>, tile<type, 2, planes, Panel>,
                                    tile<type, 3, planes, Panel>, tile<type, 4, planes, Panel>,
                                    tile<type, 5, planes, Panel>, tile<type, 6, planes, Panel>,
                                    tile<type, 7, planes, Panel>, tile<type, 8, planes, Panel>};

/// LinearKernel::run over panels of one kind.
template <DType type, int planes, class Panel>
void run_panels(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  run_quantised_tiles<type, planes>(args, tile<type, 16, planes, Panel>, kTilesOfRows<type, planes, Panel>, begin, end);
}

}  // namespace
}  // namespace fathom::kernels::vnni
