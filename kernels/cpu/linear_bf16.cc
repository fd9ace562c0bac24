// Products of bf16 with AVX-512 BF16: one instruction multiplies a pair of inputs of 16 outputs and adds both products.
// Next in the flow: kernels/cpu/linear_amx.cc, which does whole tiles.
//
// Order of sums, for one output and one row: pairs of inputs ascending, acc = acc + the two products of a pair, rounded
// at most once for each; then the bias. Numbers below the smallest normal one count as zero, as this instruction does.
// Source: Intel SDM, VDPBF16PS.
#include "kernels/cpu/linear_bf16.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <array>
#include <utility>

// g++ 12 warns of the headers' own undefined vectors (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "kernels/cpu/linear_tile.h"
#include "kernels/cpu/target_region.h"

FATHOM_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")

namespace fathom::kernels::avx512bf16 {
namespace {

constexpr int kRows = 12, kPanels = 2;  // 24 sums, two vectors of weights and one of activations
constexpr int64_t kFewRows = 8;
constexpr int64_t kPairBytes = 4;

FATHOM_INLINE __m512bh broadcast_pair(const uint8_t* p) {
  int pair;
  __builtin_memcpy(&pair, p, kPairBytes);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

FATHOM_INLINE void store(const LinearArgs& args, int64_t row, int64_t p, __m512 sums) {
  const int64_t o = p * kPanelRows, outputs = args.matrix.rows - o;
  const auto lanes = static_cast<__mmask16>(outputs >= kPanelRows ? 0xFFFF : (1 << outputs) - 1);
  if (args.bias != nullptr) sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(lanes, args.bias + o));
  _mm512_mask_storeu_ps(args.dst + row * args.dst_stride + o, lanes, sums);
}

template <int panels, int rows, int ahead>
void tile(const LinearArgs& args, int64_t row, int64_t p) {
  const int64_t stride = padded_cols(args.matrix.cols) * 2, pairs = padded_cols(args.matrix.cols) / 2;
  const auto panel_bytes = static_cast<int64_t>(paired_panel_bytes(args.matrix.cols));
  const uint8_t* src = reinterpret_cast<const uint8_t*>(args.src_bf16) + row * stride;
  const uint8_t* weights = static_cast<const uint8_t*>(args.packed) + p * panel_bytes;
  __m512 acc[rows][panels];
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int i = 0; i < panels; ++i) acc[r][i] = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < pairs; ++k, src += kPairBytes, weights += kVectorBytes) {
    __m512bh w[panels];
#pragma GCC unroll 2
    for (int i = 0; i < panels; ++i) {
      prefetch(weights + i * panel_bytes, kVectorBytes, ahead);
      w[i] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(weights + i * panel_bytes));
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
      const __m512bh a = broadcast_pair(src + r * stride);
#pragma GCC unroll 2
      for (int i = 0; i < panels; ++i) acc[r][i] = _mm512_dpbf16_ps(acc[r][i], w[i], a);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
    for (int i = 0; i < panels; ++i) store(args, row + r, p + i, acc[r][i]);
  }
}

}  // namespace
}  // namespace fathom::kernels::avx512bf16

FATHOM_TARGET_END

namespace fathom::kernels::avx512bf16 {
namespace {

template <int panels, int ahead, size_t... i>
constexpr std::array<FloatTile, kRows> tiles(std::index_sequence<i...>) {
  return {tile<panels, static_cast<int>(i) + 1, ahead>...};
}

void run(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  static constexpr auto kOne = tiles<1, kPrefetchBytes>(std::make_index_sequence<kRows>());
  static constexpr auto kMany = tiles<kPanels, kCacheAhead>(std::make_index_sequence<kRows>());
  constexpr FloatTiles kTiles{kRows, kPanels, kFewRows, kOne.data(), kMany.data()};
  run_float_tiles(args, kTiles, paired_panel_bytes(args.matrix.cols), begin, end);
}

}  // namespace

bool usable() noexcept {
  constexpr unsigned kBf16 = 1u << 5;  // of leaf 7.1, EAX
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kBf16) != 0;
}

LinearKernel bf16_kernel() noexcept {
  return {"cpu/avx512bf16", Activation::bf16, kPanelRows, paired_bytes, pack_pairs, run};
}

}  // namespace fathom::kernels::avx512bf16
#endif  // __x86_64__
