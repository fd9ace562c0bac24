// What the quantised kernels of every Highway target share: byte products by pairs, codes and scales of a block, one
// tile. Included by linear.cc (one stream) and head.cc (split panels), once for each target that has vectors.
//
// Pairs: u8 * s8 products are added two by two in 16 bits (maddubs); |pair| <= 2 * max_code * 127. While sums of
// `chain` pairs stay within 32,767 they are added in 16 bits, then widened to 32. q8_0's signed codes go as |code| *
// sign(code) a, so that -128 is 128 as an unsigned byte: 2 * 128 * 127 = 32,512 still fits. A low plane of activations
// (|a| <= 8) takes whole blocks in 16 bits for every type.
#if defined(FATHOM_LINEAR_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_LINEAR_INL_H
#undef FATHOM_LINEAR_INL_H
#else
#define FATHOM_LINEAR_INL_H
#endif

#include <hwy/highway.h>

#include "kernels/cpu/linear_targets.h"
#include "kernels/cpu/linear_tile.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

using I32 = hn::CappedTag<int32_t, kPanelRows>;
using F32 = hn::Rebind<float, I32>;
using U8 = hn::Repartition<uint8_t, I32>;
using I16 = hn::Repartition<int16_t, I32>;
using VecI32 = hn::Vec<I32>;
using VecF32 = hn::Vec<F32>;
using VecU8 = hn::Vec<U8>;
using VecI16 = hn::Vec<I16>;
constexpr int kLanes = HWY_MAX_BYTES / 4;    // outputs in one vector
constexpr int kParts = kPanelRows / kLanes;  // vectors for 16 outputs
constexpr int kPartBytes = 4 * kLanes;
constexpr int kMaxLow = 8;  // |a| of a low plane

HWY_INLINE VecI32 broadcast_int(const uint8_t* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return hn::Set(I32(), x);
}

HWY_INLINE VecF32 broadcast_float(const uint8_t* p) { return hn::BitCast(F32(), broadcast_int(p)); }

// ---- byte products -----------------------------------------------------------------------------------------------

/// Sums of neighbouring products w[2 i] a[2 i] + w[2 i + 1] a[2 i + 1].
template <bool kSigned>
HWY_INLINE VecI16 pair_sums(VecU8 w, VecU8 a) {
#if HWY_TARGET == HWY_AVX2
  if constexpr (kSigned) return VecI16{_mm256_maddubs_epi16(_mm256_abs_epi8(w.raw), _mm256_sign_epi8(a.raw, w.raw))};
  return VecI16{_mm256_maddubs_epi16(w.raw, a.raw)};
#elif HWY_TARGET == HWY_AVX3
  if constexpr (kSigned) {
    const __m512i sign_a = _mm512_mask_sub_epi8(a.raw, _mm512_movepi8_mask(w.raw), _mm512_setzero_si512(), a.raw);
    return VecI16{_mm512_maddubs_epi16(_mm512_abs_epi8(w.raw), sign_a)};
  }
  return VecI16{_mm512_maddubs_epi16(w.raw, a.raw)};
#elif HWY_TARGET == HWY_NEON
  const int8x16_t ws = vreinterpretq_s8_u8(w.raw), as = vreinterpretq_s8_u8(a.raw);  // unsigned codes are below 64
  return VecI16(vpaddq_s16(vmull_s8(vget_low_s8(ws), vget_low_s8(as)), vmull_high_s8(ws, as)));
#else
#error "pair_sums has no form for this target"
#endif
}

/// acc + sums of neighbouring 16-bit numbers.
HWY_INLINE VecI32 add_pairs(VecI32 acc, VecI16 pairs) {
#if HWY_TARGET == HWY_AVX2
  return VecI32{_mm256_add_epi32(acc.raw, _mm256_madd_epi16(pairs.raw, _mm256_set1_epi16(1)))};
#elif HWY_TARGET == HWY_AVX3
  return VecI32{_mm512_add_epi32(acc.raw, _mm512_madd_epi16(pairs.raw, _mm512_set1_epi16(1)))};
#else
  return VecI32(vpadalq_s16(acc.raw, pairs.raw));
#endif
}

/// The same value, computed at this place: g++ 12 otherwise makes all products of a block before it adds any, and
/// spills them (1.3-1.5 times the time at eight rows with AVX2).
template <class V>
HWY_INLINE V here(V v) {
#if HWY_TARGET == HWY_AVX2
  asm("" : "+x"(v.raw));
#elif HWY_TARGET == HWY_AVX3
  asm("" : "+v"(v.raw));
#endif
  return v;
}

/// sum[r][p] += codes times activations of row r over quads [begin, end), for the vectors p of 16 outputs; each vector
/// of codes is read once for all `rows` rows, which lie 32 bytes apart; |a| <= `largest`.
template <DType type, int begin, int end, int largest, int rows>
HWY_INLINE void dot(const uint8_t* HWY_RESTRICT codes, const uint8_t* HWY_RESTRICT a, VecI32 (&sum)[rows][kParts]) {
  constexpr PanelFormat f = kPanelFormat<type>;
  constexpr int kChain = std::min(end - begin, 32767 / (2 * f.max_code * largest));
  static_assert(kChain >= 1, "a pair of products must fit 16 bits");
  const U8 d8;
  for (int q = begin; q < end; q += kChain) {
    VecI16 pairs[rows][kParts];
    for (int j = 0; j < kChain; ++j) {
      VecU8 w[kParts];
      for (int p = 0; p < kParts; ++p) w[p] = hn::LoadU(d8, codes + (q + j) * kVectorBytes + p * kPartBytes);
      for (int r = 0; r < rows; ++r) {
        const VecU8 quad = hn::BitCast(d8, broadcast_int(a + r * kQuantBlock + 4 * (q + j)));
        for (int p = 0; p < kParts; ++p) {
          const VecI16 pair = pair_sums<f.signed_codes>(w[p], quad);
          pairs[r][p] = j == 0 ? pair : here(hn::Add(pairs[r][p], pair));
        }
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int p = 0; p < kParts; ++p) sum[r][p] = here(add_pairs(sum[r][p], pairs[r][p]));
    }
  }
}

/// sum[r][p] += the same over all planes: 16 times the high one and the low one.
template <DType type, int begin, int end, int planes, int rows>
HWY_INLINE void dot_planes(const uint8_t* codes, const uint8_t* a, int low_plane, VecI32 (&sum)[rows][kParts]) {
  if constexpr (planes == 1) return dot<type, begin, end, kMaxQ8>(codes, a, sum);
  VecI32 high[rows][kParts];
  for (int r = 0; r < rows; ++r) {
    for (int p = 0; p < kParts; ++p) high[r][p] = hn::Zero(I32());
  }
  dot<type, begin, end, kMaxQ8>(codes, a, high);
  for (int r = 0; r < rows; ++r) {
    for (int p = 0; p < kParts; ++p) sum[r][p] = hn::Add(sum[r][p], hn::ShiftLeft<4>(high[r][p]));
  }
  dot<type, begin, end, kMaxLow>(codes, a + low_plane, sum);
}

// ---- codes and scales of a block -----------------------------------------------------------------------------------

template <int kBits>
HWY_INLINE VecU8 shift_left(VecU8 v) {
  const hn::Repartition<uint16_t, I32> d16;
  const U8 d8;
  if constexpr (kBits > 0) return hn::BitCast(d8, hn::ShiftLeft<kBits>(hn::BitCast(d16, v)));
  if constexpr (kBits < 0) return hn::BitCast(d8, hn::ShiftRight<-kBits>(hn::BitCast(d16, v)));
  return v;
}

/// Writes quads of codes [8, 64] as bytes; quad j of a pair (j, j + 4) shares a vector of nibbles.
template <DType type, int j>
HWY_INLINE void unpack_pair(const uint8_t* HWY_RESTRICT block, uint8_t* HWY_RESTRICT codes) {
  constexpr PanelFormat f = kPanelFormat<type>;
  const U8 d8;
  for (int p = 0; p < kVectorBytes; p += kPartBytes) {
    const VecU8 nibble = hn::Set(d8, 0x0F);
    const VecU8 both = hn::LoadU(d8, block + j * kVectorBytes + p);
    VecU8 low = hn::And(both, nibble), high = hn::And(shift_left<-4>(both), nibble);
    if constexpr (f.max_code == 31) {
      const VecU8 bit = hn::Set(d8, 0x10), fifth = hn::LoadU(d8, block + 4 * kVectorBytes + p);
      low = hn::Or(low, hn::And(shift_left<4 - j>(fifth), bit));
      high = hn::Or(high, hn::And(shift_left<-j>(fifth), bit));
    }
    if constexpr (f.max_code == 63) {
      const VecU8 bits = hn::Set(d8, 0x30);
      low = hn::Or(low, hn::And(shift_left<4 - 2 * j>(hn::LoadU(d8, block + 4 * kVectorBytes + p)), bits));
      high = hn::Or(high, hn::And(shift_left<4 - 2 * j>(hn::LoadU(d8, block + 5 * kVectorBytes + p)), bits));
    }
    hn::Store(low, d8, codes + j * kVectorBytes + p);
    hn::Store(high, d8, codes + (j + 4) * kVectorBytes + p);
  }
}

/// Codes of a block as bytes: the block itself where it holds bytes, else `buffer`.
template <DType type>
HWY_INLINE const uint8_t* unpack(const uint8_t* HWY_RESTRICT block, uint8_t* HWY_RESTRICT buffer) {
  if constexpr (kPanelFormat<type>.signed_codes) return block;
  unpack_pair<type, 0>(block, buffer);
  unpack_pair<type, 1>(block, buffer);
  unpack_pair<type, 2>(block, buffer);
  unpack_pair<type, 3>(block, buffer);
  return buffer;
}

HWY_INLINE VecF32 load_half(const uint8_t* src, int p) {
  const hn::Rebind<hwy::float16_t, F32> d16;
  return hn::PromoteTo(F32(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(src) + p * kLanes));
}

template <class T>
HWY_INLINE VecF32 load_bytes(const T* src, int p) {
  const hn::Rebind<T, I32> d8;
  return hn::ConvertTo(F32(), hn::PromoteTo(I32(), hn::LoadU(d8, src + p * kLanes)));
}

/// Scales and minima of a block, 16 outputs each, from the head of a unit of q4_k or q5_k.
HWY_INLINE void unpack_k_scales(const uint8_t* head, int run, uint8_t* scale, uint8_t* min) {
  const hn::FixedTag<uint8_t, kPanelRows> d8;
  const hn::Repartition<uint16_t, decltype(d8)> d16;
  const auto nibble = hn::Set(d16, 0x0F0F), bits = hn::Set(d16, 0x3030);
  const auto low = hn::BitCast(d16, hn::LoadU(d8, head + kLowScales + run * kPanelRows));
  const auto pair = hn::BitCast(d16, hn::LoadU(d8, head + kHighScales + run / 2 * kPanelRows));
  const auto high = hn::ShiftRightSame(pair, run % 2 * 4);
  const auto of_scale = hn::Or(hn::And(low, nibble), hn::And(hn::ShiftLeft<4>(high), bits));
  const auto of_min = hn::Or(hn::And(hn::ShiftRight<4>(low), nibble), hn::And(hn::ShiftLeft<2>(high), bits));
  hn::Store(hn::BitCast(d8, of_scale), d8, scale);
  hn::Store(hn::BitCast(d8, of_min), d8, min);
}

/// What turns integer sums of a block into floats, for each vector of outputs.
template <DType type>
struct BlockScales {
  VecF32 a[kParts], b[kParts], c[kParts];

  HWY_INLINE BlockScales(const uint8_t* head, int run) {
    constexpr PanelFormat f = kPanelFormat<type>;
    alignas(16) uint8_t scale[kPanelRows], min[kPanelRows];
    if constexpr (f.coding == Coding::minimum) unpack_k_scales(head, run, scale, min);
    for (int p = 0; p < kParts; ++p) {
      if constexpr (f.coding == Coding::zero_point) {
        a[p] = load_half(head, p);
      } else if constexpr (f.coding == Coding::minimum) {
        a[p] = hn::Mul(load_half(head, p), load_bytes(scale, p));
        b[p] = hn::Mul(load_half(head + kScaleBytes, p), load_bytes(min, p));
      } else {
        const auto* scales = reinterpret_cast<const int8_t*>(head + kScaleBytes) + 2 * run * kPanelRows;
        a[p] = load_half(head, p);
        b[p] = load_bytes(scales, p);
        c[p] = load_bytes(scales + kPanelRows, p);
      }
    }
  }
};

// ---- tiles ----------------------------------------------------------------------------------------------------------

constexpr int kTogether = kParts == 1 ? 4 : 2;  // rows whose sums share the registers with a block's codes

/// acc += one block for rows [r0, r0 + n) of a tile's record.
template <DType type, int rows, int planes, int n>
HWY_INLINE void block_step(const uint8_t* codes, const BlockScales<type>& scales, const uint8_t* record, int r0,
                           float (*HWY_RESTRICT acc)[kPanelRows]) {
  using Record = TileRecord<type, rows, planes>;
  constexpr PanelFormat f = kPanelFormat<type>;
  const F32 df;
  const uint8_t* a = record + r0 * kQuantBlock;
  const uint8_t* correction = record + Record::kCorrection + 4 * r0;
  constexpr bool kStartsAtZero = f.coding == Coding::minimum || f.zero == 0;
  VecI32 sum[n][kParts], upper[n][kParts];
  for (int r = 0; r < n; ++r) {
    for (int p = 0; p < kParts; ++p) sum[r][p] = kStartsAtZero ? hn::Zero(I32()) : broadcast_int(correction + 4 * r);
  }
  if constexpr (f.coding == Coding::two_scales) {
    dot_planes<type, 0, kQuads / 2, planes>(codes, a, Record::kLow, sum);
    for (int r = 0; r < n; ++r) {
      for (int p = 0; p < kParts; ++p) upper[r][p] = broadcast_int(correction + 4 * (rows + r));
    }
    dot_planes<type, kQuads / 2, kQuads, planes>(codes, a, Record::kLow, upper);
  } else {
    dot_planes<type, 0, kQuads, planes>(codes, a, Record::kLow, sum);
  }
  for (int r = 0; r < n; ++r) {
    const VecF32 scale = broadcast_float(record + Record::kScales + 4 * (r0 + r));
    for (int p = 0; p < kParts; ++p) {
      float* to = acc[r0 + r] + p * kLanes;
      const VecF32 isum = hn::ConvertTo(df, sum[r][p]), old = hn::Load(df, to);
      if constexpr (f.coding == Coding::two_scales) {
        const VecF32 t = hn::MulAdd(hn::ConvertTo(df, upper[r][p]), scales.c[p], hn::Mul(isum, scales.b[p]));
        hn::Store(hn::MulAdd(t, hn::Mul(scales.a[p], scale), old), df, to);
      } else if constexpr (f.coding == Coding::minimum) {
        const VecF32 t = hn::NegMulAdd(scales.b[p], broadcast_float(correction + 4 * r), hn::Mul(isum, scales.a[p]));
        hn::Store(hn::MulAdd(scale, t, old), df, to);
      } else {
        hn::Store(hn::MulAdd(isum, hn::Mul(scales.a[p], scale), old), df, to);
      }
    }
  }
}

/// The same for all rows of a tile.
template <DType type, int rows, int planes>
HWY_INLINE void tile_step(const uint8_t* codes, const BlockScales<type>& scales, const uint8_t* record,
                          float (*HWY_RESTRICT acc)[kPanelRows]) {
  constexpr int kWhole = rows / kTogether * kTogether;
  for (int r = 0; r < kWhole; r += kTogether) block_step<type, rows, planes, kTogether>(codes, scales, record, r, acc);
  if constexpr (kWhole < rows) block_step<type, rows, planes, rows - kWhole>(codes, scales, record, kWhole, acc);
}

/// A panel in one stream (panel.h), read unit by unit.
template <DType type>
struct Interleaved {
  static constexpr PanelFormat kFormat = kPanelFormat<type>;
  const uint8_t* head;  // of the unit

  HWY_INLINE Interleaved(const LinearArgs& args, int64_t panel, int64_t block)
      : head(static_cast<const uint8_t*>(args.packed) +
             static_cast<size_t>(panel) * panel_bytes(kFormat, args.matrix.cols) +
             static_cast<size_t>(block / kFormat.blocks()) * kFormat.unit_bytes()) {}

  /// Codes of a block as bytes: the block itself where it holds bytes, else `buffer`.
  HWY_INLINE const uint8_t* unpack(int run, uint8_t* HWY_RESTRICT buffer) const {
    const uint8_t* block = head + kFormat.head_bytes + run * kFormat.block_bytes;
    prefetch(block, kFormat.unit_bytes() / kFormat.blocks());
    return fathom::kernels::HWY_NAMESPACE::unpack<type>(block, buffer);
  }

  HWY_INLINE void next_unit() { head += kFormat.unit_bytes(); }
};

/// Panel p of a tile, from the records of its segment.
template <DType type, int rows, int planes, class Panel>
HWY_INLINE void panel_tile(const LinearArgs& args, const TileRange& range, int64_t p, Panel panel,
                           const uint8_t* record) {
  constexpr PanelFormat f = kPanelFormat<type>;
  const bool last = range.block_end == args.matrix.cols / kQuantBlock;
  alignas(64) uint8_t buffer[kQuads * kVectorBytes];
  alignas(64) float acc[rows][kPanelRows] = {};
  for (int r = 0; range.block > 0 && r < rows; ++r) load_outputs(args, range.row + r, p, acc[r]);
  for (int64_t u = range.block / f.blocks(); u < range.block_end / f.blocks(); ++u, panel.next_unit()) {
    for (int run = 0; run < f.blocks(); ++run, record += TileRecord<type, rows, planes>::kBytes) {
      const uint8_t* codes = panel.unpack(run, buffer);
      const BlockScales<type> scales(panel.head, run);
      tile_step<type, rows, planes>(codes, scales, record, acc);
    }
  }
  for (int r = 0; r < rows; ++r) store_outputs(args, range.row + r, p, last, acc[r]);
}

template <DType type, int rows, int planes, class Panel>
void tile(const LinearArgs& args, const TileRange& range) {
  alignas(64) uint8_t records[kTileBytes];
  gather_tile<type, kPanelFormat<type>.zero, rows, planes>(args.src_quant, range.row, range.block,
                                                           range.block_end - range.block, records);
  for (int64_t p = range.begin; p < range.end; ++p)
    panel_tile<type, rows, planes>(args, range, p, Panel(args, p, range.block), records);
}

/// LinearKernel::run over panels of one kind.
template <DType type, int planes, class Panel>
void run_panels(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  constexpr TileFn kTiles[8] = {tile<type, 1, planes, Panel>, tile<type, 2, planes, Panel>,
                                tile<type, 3, planes, Panel>, tile<type, 4, planes, Panel>,
                                tile<type, 5, planes, Panel>, tile<type, 6, planes, Panel>,
                                tile<type, 7, planes, Panel>, tile<type, 8, planes, Panel>};
  run_quantised_tiles<type, planes>(args, nullptr, kTiles, begin, end);
}

#endif  // vectors

}  // namespace
}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
