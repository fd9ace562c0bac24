// Quantised products of sixteen rows with AMX: a block's codes are one tile, a plane of the rows' activations another,
// and their integer sums come back to vectors for the float steps. The same integers and floats as the tiles of
// linear_vnni-inl.h, which take what is left of the rows, and Q6_K: its two scales a block would need twice the tiles.
// Included by linear_amx_int8.cc (one stream) and head_vnni.cc (split panels); x86-64 only.
#pragma once

#include <type_traits>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/linear_vnni-inl.h"

FATHOM_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")

namespace fathom::kernels::vnni {
namespace {

// Where tiles are; blocks alternate between two of each kind, so that neighbours do not wait for one another.
constexpr int kSums = 0, kCodes = 4, kSrc = 6;  // sums [2, planes], codes [2], activations [2]

/// Integer sums of a block and a plane: [rows, 16].
struct alignas(64) BlockSums {
  int32_t of[kTileRows][kPanelRows];
};

amx::TileShapes shapes() {
  amx::TileShapes shapes;
  for (int i = 0; i < 4; ++i) shapes.set(kSums + i, kTileRows, kVectorBytes);
  for (int i = 0; i < 2; ++i)
    shapes.set(kCodes + i, kQuads, kVectorBytes), shapes.set(kSrc + i, kTileRows, kQuantBlock);
  return shapes;
}

template <int sums, int codes, int src>
FATHOM_INLINE void add_products() {
  asm volatile("tdpbssd %%tmm%c0, %%tmm%c1, %%tmm%c2" ::"i"(codes), "i"(src), "i"(sums));
}

/// Products of a block's signed codes with all planes of a record's rows.
template <DType type, int planes, int turn>
FATHOM_INLINE void block_sums(const uint8_t* codes, const uint8_t* record, BlockSums* dst) {
  constexpr int kHigh = kSums + 2 * turn, kLow = kHigh + 1;
  amx::load<kCodes + turn>(codes, kVectorBytes);
  amx::load<kSrc + turn>(record, kQuantBlock);
  amx::zero<kHigh>();
  add_products<kHigh, kCodes + turn, kSrc + turn>();
  if constexpr (planes == 2) {
    amx::load<kSrc + turn>(record + TileRecord<type, kTileRows, planes>::kLow, kQuantBlock);
    amx::zero<kLow>();
    add_products<kLow, kCodes + turn, kSrc + turn>();
    amx::store<kLow>(dst[1].of, kVectorBytes);
  }
  amx::store<kHigh>(dst[0].of, kVectorBytes);
}

/// Row r's sums as floats: 16 times those of the high plane and those of the low one.
template <int planes>
FATHOM_INLINE __m512 sums_of(const BlockSums* sums, int r) {
  const __m512i high = _mm512_load_si512(sums[0].of[r]);
  if constexpr (planes == 1) return _mm512_cvtepi32_ps(high);
  return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 4), _mm512_load_si512(sums[1].of[r])));
}

/// The float steps of one block; acc [16].
template <DType type, int planes>
FATHOM_INLINE void add_block(const BlockScales<type>& s, const BlockSums* sums, const uint8_t* record, __m512* acc) {
  using Record = TileRecord<type, kTileRows, planes>;
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
    const __m512 scale = broadcast_float(record + Record::kScales + 4 * r), sum = sums_of<planes>(sums, r);
    if constexpr (kPanelFormat<type>.coding == Coding::zero_point) {
      acc[r] = _mm512_fmadd_ps(sum, _mm512_mul_ps(s.a, scale), acc[r]);
    } else {
      const __m512 asum = broadcast_float(record + Record::kCorrection + 4 * r);
      acc[r] = _mm512_fmadd_ps(scale, _mm512_fnmadd_ps(s.b, asum, _mm512_mul_ps(sum, s.a)), acc[r]);
    }
  }
}

/// Signed codes of a block: where it holds them, or unpacked in `buffer`.
template <DType type, class Panel>
FATHOM_INLINE const uint8_t* signed_codes(const Panel& panel, int run, uint8_t* buffer) {
  if constexpr (kPanelFormat<type>.signed_codes && requires { panel.plain_codes(run); }) {
    return panel.plain_codes(run);
  } else {
    __m512i w[kQuads];
    panel.unpack(run, w);
    const __m512i zero = _mm512_set1_epi8(static_cast<char>(kZero<type>));
#pragma GCC unroll 8
    for (int j = 0; j < kQuads; ++j) _mm512_store_si512(buffer + j * kVectorBytes, _mm512_sub_epi8(w[j], zero));
    return buffer;
  }
}

template <DType type>
struct UnpackedBlock {
  const uint8_t* codes;
  BlockScales<type> scales;
};

/// A panel and sixteen rows: each block's codes are unpacked before the one before is multiplied, and its sums become
/// floats after the next one is. What was just stored is slow to read as a tile, and a tile's sums as vectors.
template <DType type, int planes, class Panel>
void tiles_of_panel(const LinearArgs& args, const TileRange& range, int64_t p, Panel panel, const uint8_t* record) {
  constexpr int64_t kRecord = TileRecord<type, kTileRows, planes>::kBytes;
  const bool last = range.block_end == args.matrix.cols / kQuantBlock;
  const __mmask16 lanes = lanes_of(args, p);
  alignas(64) uint8_t buffer[2][kQuads * kVectorBytes];
  BlockSums sums[2][2];
  __m512 acc[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r)
    acc[r] = range.block == 0 ? _mm512_setzero_ps() : load_sums(args, range.row + r, p, lanes);
  int run = 0;
  const auto unpack = [&](int turn) __attribute__((always_inline)) {
    const UnpackedBlock<type> block{signed_codes<type>(panel, run, buffer[turn]), BlockScales<type>(panel.head, run)};
    if (++run == kPanelFormat<type>.blocks()) {
      run = 0;
      panel.next_unit();
    }
    return block;
  };
  const int64_t n = range.block_end - range.block;
  UnpackedBlock<type> next = unpack(0);
  BlockScales<type> behind = next.scales;
  const auto step = [&](auto turn, int64_t b) __attribute__((always_inline)) {
    constexpr int kTurn = decltype(turn)::value;
    const UnpackedBlock<type> block = next;
    if (b + 1 < n) next = unpack(1 - kTurn);
    block_sums<type, planes, kTurn>(block.codes, record, sums[kTurn]);
    if (b > 0) add_block<type, planes>(behind, sums[1 - kTurn], record - kRecord, acc);
    behind = block.scales;
    record += kRecord;
  };
  int64_t b = 0;
  for (; b + 2 <= n; b += 2) {
    step(std::integral_constant<int, 0>(), b);
    step(std::integral_constant<int, 1>(), b + 1);
  }
  if (b < n) step(std::integral_constant<int, 0>(), b);
  add_block<type, planes>(behind, sums[(n - 1) % 2], record - kRecord, acc);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) store_sums(args, range.row + r, p, lanes, last, acc[r]);
}

template <DType type, int planes, class Panel>
void tile_of_tiles(const LinearArgs& args, const TileRange& range) {
  alignas(64) uint8_t records[kTileBytes];
  gather_tile<type, 0, kTileRows, planes>(args.src_quant, range.row, range.block, range.block_end - range.block,
                                          records);
  amx::configure(shapes());
  for (int64_t p = range.begin; p < range.end; ++p)
    tiles_of_panel<type, planes>(args, range, p, Panel(args, p, range.block), records);
  amx::release();
}

}  // namespace
}  // namespace fathom::kernels::vnni

FATHOM_TARGET_END

namespace fathom::kernels::vnni {
namespace {

/// LinearKernel::run over panels of one kind, sixteen rows a tile while they last.
template <DType type, int planes, class Panel>
void run_panels_by_tiles(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  if constexpr (kPanelFormat<type>.coding == Coding::two_scales) {
    run_panels<type, planes, Panel>(args, begin, end);
  } else {
    run_quantised_tiles<type, planes>(args, tile_of_tiles<type, planes, Panel>, kTilesOfRows<type, planes, Panel>,
                                      begin, end);
  }
}

}  // namespace
}  // namespace fathom::kernels::vnni
