// Writes split panels (kernels/cpu/split_panel.h) from GGUF rows: the two parts of each code, and the norms of what the
// high part leaves open. Next in the flow: kernels/cpu/head_prepare.cc.
#include "kernels/cpu/head_pack.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/pack_blocks.h"

namespace fathom::kernels {
namespace {

constexpr int kMaxNorm = 255;
constexpr uint16_t kInfinity = 0x7F80;  // as a bfloat16
constexpr double kUp = 1 + 0x1p-40;     // more than a sum of squares of one group loses: at most 40 doubles

/// A bfloat16 at or above x, finite and at least 0.
uint16_t bfloat16_above(double x) {
  const auto near = static_cast<float>(x);
  const uint32_t bits = float_to_bits(near < x ? std::nextafter(near, HUGE_VALF) : near);
  return static_cast<uint16_t>((bits + 0xFFFF) >> 16);
}

/// Writes the norms of output `o` of a panel, squares[g] the squared norm of group g. Scales that are not finite give
/// an infinite norm, so that the output is never ruled out.
void put_norms(const double* squares, int64_t groups, int o, uint8_t* dst) {
  uint8_t* codes = dst + kScaleBytes + o;
  double sum = 0, largest = 0;
  for (int64_t g = 0; g < groups; ++g) {
    sum += squares[g];
    largest = std::max(largest, std::sqrt(squares[g]) * kUp);
  }
  const uint16_t scale = std::isfinite(sum) ? bfloat16_above(largest / kMaxNorm * kUp) : kInfinity;
  std::memcpy(dst + 2 * o, &scale, 2);
  const double step = bfloat16_to_float(scale);
  for (int64_t g = 0; g < groups; ++g) {
    const double code = std::isfinite(sum) && step > 0 ? std::ceil(std::sqrt(squares[g]) * kUp / step * kUp) : step > 0;
    codes[g * kPanelRows] = static_cast<uint8_t>(std::min<double>(code, kMaxNorm));
  }
}

/// Scale of inputs [16 half, 16 half + 16) of a block in double: exact.
template <DType type>
double scale_of(const uint8_t* src, int run, int half) {
  uint16_t d;
  std::memcpy(&d, type == DType::q6_k ? src + 208 : src, 2);
  const double scale = half_to_float(d);
  return type == DType::q6_k ? scale * static_cast<int8_t>(src[192 + 2 * run + half]) : scale;
}

template <DType type>
void pack_split_panel(const SplitLayout<type>& layout, const uint8_t* src, size_t src_row_bytes, int rows,
                      uint8_t* high, uint8_t* low) {
  using Layout = SplitLayout<type>;
  constexpr SplitFormat kSplit = Layout::kSplit;
  double squares[kPanelRows][kMaxGroups] = {};
  std::memset(high, 0, layout.norm_bytes);
  uint8_t* unit = high + layout.norm_bytes;
  for (int64_t b = 0; b < layout.blocks; ++b) {
    const int run = static_cast<int>(b % Layout::kPanel.blocks());
    if (run == 0 && b > 0) unit += Layout::kHighUnitBytes;
    const uint8_t* src_unit = src + static_cast<size_t>(b / Layout::kPanel.blocks()) * info(type).block_bytes;
    if (run == 0) std::memset(unit, 0, static_cast<size_t>(Layout::kPanel.head_bytes));
    uint8_t codes[kPanelRows][kQuantBlock] = {}, part[kPanelRows][kQuantBlock];
    for (int o = 0; o < rows; ++o) {
      const uint8_t* block = src_unit + static_cast<size_t>(o) * src_row_bytes;
      if (run == 0) put_scales<type>(block, o, unit);
      block_codes<type>(block, run, codes[o]);
      for (int half = 0; half < 2; ++half) {
        double sum = 0;  // of squares of quarters: exact
        for (int i = 16 * half; i < 16 * half + 16; ++i) {
          const double open = (codes[o][i] & ((1 << kSplit.low_bits) - 1)) - static_cast<double>(kSplit.half_range);
          sum += open * open;
        }
        const double scale = scale_of<type>(block, run, half);
        squares[o][b / layout.group_blocks] += scale * scale * sum;
      }
    }
    const uint8_t flip = type == DType::q8_0 ? 0x80 : 0;  // signed codes gain 128
    Quads quads;
    for (int o = 0; o < kPanelRows; ++o) {
      for (int i = 0; i < kQuantBlock; ++i) part[o][i] = static_cast<uint8_t>((codes[o][i] ^ flip) >> kSplit.low_bits);
    }
    gather_quads(part, quads);
    put_nibbles(quads, unit + Layout::kPanel.head_bytes + run * Layout::kHighBlockBytes);
    gather_quads(codes, quads);  // the sign is in the high part
    uint8_t* low_block = low + b * kSplit.low_block_bytes;
    if (kSplit.low_bits == 4) {
      put_nibbles(quads, low_block);
    } else {
      put_pairs(quads, 0, low_block);
    }
  }
  for (int o = 0; o < kPanelRows; ++o) put_norms(squares[o], layout.groups, o, high);
}

}  // namespace

template <DType type>
size_t split_bytes(const MatrixDesc& m) noexcept {
  if (m.type != type || !acceptable(m, kPanelFormat<type>.unit, 2) || m.cols > kMaxScreenCols) return 0;
  return SplitLayout<type>(m).bytes();
}

template <DType type>
void pack_split(const MatrixDesc& m, const void* src, void* dst, int64_t begin, int64_t end) noexcept {
  const SplitLayout<type> layout(m);
  const size_t src_row_bytes = row_bytes(type, static_cast<size_t>(m.cols));
  auto* packed = static_cast<uint8_t*>(dst);
  for (int64_t p = begin; p < end; ++p) {
    pack_split_panel<type>(layout,
                           static_cast<const uint8_t*>(src) + static_cast<size_t>(p) * kPanelRows * src_row_bytes,
                           src_row_bytes, rows_of(m, p), packed + layout.high_at(p), packed + layout.low_at(p));
  }
}

#define FATHOM_PACK(type)                                        \
  template size_t split_bytes<type>(const MatrixDesc&) noexcept; \
  template void pack_split<type>(const MatrixDesc&, const void*, void*, int64_t, int64_t) noexcept
FATHOM_PACK(DType::q8_0);
FATHOM_PACK(DType::q6_k);
#undef FATHOM_PACK

}  // namespace fathom::kernels
