// Writes panels (kernels/cpu/panel.h) from GGUF rows. Next in the flow: kernels/cpu/linear.cc, which reads them.
// Cost: about 0.4 ns a weight on one core, so that loading stays near the speed of the disk cache.
#include "kernels/cpu/pack.h"

#include <cstring>

#include "kernels/cpu/pack_blocks.h"

namespace fathom::kernels {
namespace {

void put_block(const PanelFormat& f, const uint8_t (&codes)[kPanelRows][kQuantBlock], uint8_t* dst) {
  Quads q;
  gather_quads(codes, q);
  if (f.signed_codes) {
    std::memcpy(dst, q, sizeof(Quads));
    return;
  }
  put_nibbles(q, dst);
  if (f.max_code == 31) put_fifth_bits(q, dst + 4 * kVectorBytes);
  if (f.max_code == 63) put_pairs(q, 4, dst + 4 * kVectorBytes);
}

template <DType type>
void pack_panel(const uint8_t* src, size_t src_row_bytes, int rows, int64_t cols, uint8_t* dst) {
  constexpr PanelFormat f = kPanelFormat<type>;
  for (int64_t u = 0; u < cols / f.unit; ++u) {
    uint8_t* unit = dst + u * f.unit_bytes();
    const uint8_t* src_unit = src + static_cast<size_t>(u) * info(type).block_bytes;
    std::memset(unit, 0, static_cast<size_t>(f.head_bytes));
    for (int o = 0; o < rows; ++o) put_scales<type>(src_unit + o * src_row_bytes, o, unit);
    for (int run = 0; run < f.blocks(); ++run) {
      uint8_t codes[kPanelRows][kQuantBlock] = {};  // outputs past the last row stay zero, as do their scales
      for (int o = 0; o < rows; ++o) block_codes<type>(src_unit + o * src_row_bytes, run, codes[o]);
      put_block(f, codes, unit + f.head_bytes + run * f.block_bytes);
    }
  }
}

/// Calls put(input, output, weight) for all weights of panel p that the matrix has.
template <class Put>
void expand_panel(const MatrixDesc& m, const void* src, int64_t p, Put put) {
  constexpr int64_t kMaxUnit = 256;
  const auto& type = info(m.type);
  const int64_t unit = type.block_elements > 1 ? type.block_elements : (m.cols < kMaxUnit ? m.cols : kMaxUnit);
  const size_t src_row_bytes = row_bytes(m.type, static_cast<size_t>(m.cols));
  for (int o = 0; o < rows_of(m, p); ++o) {
    const auto* row = static_cast<const uint8_t*>(src) + static_cast<size_t>(p * kPanelRows + o) * src_row_bytes;
    for (int64_t k = 0; k < m.cols; k += unit) {
      float weights[kMaxUnit];
      const int64_t n = m.cols - k < unit ? m.cols - k : unit;
      dequantize_row(m.type, row + row_bytes(m.type, static_cast<size_t>(k)), weights, n);
      for (int64_t i = 0; i < n; ++i) put(k + i, o, weights[i]);
    }
  }
}

}  // namespace

template <DType type>
size_t quantised_bytes(const MatrixDesc& m) noexcept {
  constexpr PanelFormat f = kPanelFormat<type>;
  if (m.type != type || !acceptable(m, f.unit, 2)) return 0;
  return static_cast<size_t>(n_panels(m.rows)) * panel_bytes(f, m.cols);
}

template <DType type>
void pack_quantised(const MatrixDesc& m, const void* src, void* dst, int64_t begin, int64_t end) noexcept {
  const size_t src_row_bytes = row_bytes(type, static_cast<size_t>(m.cols));
  const size_t bytes = panel_bytes(kPanelFormat<type>, m.cols);
  for (int64_t p = begin; p < end; ++p) {
    pack_panel<type>(static_cast<const uint8_t*>(src) + static_cast<size_t>(p) * kPanelRows * src_row_bytes,
                     src_row_bytes, rows_of(m, p), m.cols, static_cast<uint8_t*>(dst) + static_cast<size_t>(p) * bytes);
  }
}

template <DType type>
size_t plain_bytes(const MatrixDesc& m) noexcept {
  if (m.type != type || !acceptable(m, 1, 4)) return 0;
  return static_cast<size_t>(n_panels(m.rows)) * float_panel_bytes(type, m.cols);
}

template <DType type>
void pack_plain(const MatrixDesc& m, const void* src, void* dst, int64_t begin, int64_t end) noexcept {
  constexpr size_t bytes = info(type).block_bytes;
  const size_t src_row_bytes = static_cast<size_t>(m.cols) * bytes;
  for (int64_t p = begin; p < end; ++p) {
    auto* panel = static_cast<uint8_t*>(dst) + static_cast<size_t>(p) * float_panel_bytes(type, m.cols);
    const auto* rows = static_cast<const uint8_t*>(src) + static_cast<size_t>(p) * kPanelRows * src_row_bytes;
    const int n = rows_of(m, p);
    std::memset(panel, 0, float_panel_bytes(type, m.cols));
    for (int64_t k = 0; k < m.cols; ++k) {
      for (int o = 0; o < n; ++o) {
        std::memcpy(panel + (static_cast<size_t>(k) * kPanelRows + o) * bytes, rows + o * src_row_bytes + k * bytes,
                    bytes);
      }
    }
  }
}

size_t expanded_bytes(const MatrixDesc& m) noexcept {
  if (!acceptable(m, info(m.type).block_elements, 4)) return 0;
  return static_cast<size_t>(n_panels(m.rows)) * float_panel_bytes(DType::f32, m.cols);
}

void pack_expanded(const MatrixDesc& m, const void* src, void* dst, int64_t begin, int64_t end) noexcept {
  for (int64_t p = begin; p < end; ++p) {
    float* panel = static_cast<float*>(dst) + p * m.cols * kPanelRows;
    std::memset(panel, 0, float_panel_bytes(DType::f32, m.cols));
    expand_panel(m, src, p, [&](int64_t k, int o, float weight) { panel[k * kPanelRows + o] = weight; });
  }
}

size_t rounded_bytes(const MatrixDesc& m) noexcept {
  if (m.cols > kMostRoundedCols || !acceptable(m, info(m.type).block_elements, 4)) return 0;
  return static_cast<size_t>(n_panels(m.rows)) * float_panel_bytes(DType::bf16, m.cols);
}

void pack_rounded(const MatrixDesc& m, const void* src, void* dst, int64_t begin, int64_t end) noexcept {
  for (int64_t p = begin; p < end; ++p) {
    uint16_t* panel = static_cast<uint16_t*>(dst) + p * m.cols * kPanelRows;
    std::memset(panel, 0, float_panel_bytes(DType::bf16, m.cols));
    expand_panel(m, src, p,
                 [&](int64_t k, int o, float weight) { panel[k * kPanelRows + o] = float_to_bfloat16(weight); });
  }
}

size_t paired_bytes(const MatrixDesc& m) noexcept {
  if (!acceptable(m, info(m.type).block_elements, 4)) return 0;
  return static_cast<size_t>(n_panels(m.rows)) * paired_panel_bytes(m.cols);
}

void pack_pairs(const MatrixDesc& m, const void* src, void* dst, int64_t begin, int64_t end) noexcept {
  const size_t bytes = paired_panel_bytes(m.cols);
  for (int64_t p = begin; p < end; ++p) {
    auto* panel = reinterpret_cast<uint16_t*>(static_cast<uint8_t*>(dst) + static_cast<size_t>(p) * bytes);
    std::memset(panel, 0, bytes);
    expand_panel(m, src, p, [&](int64_t k, int o, float weight) {
      panel[k / 2 * 2 * kPanelRows + 2 * o + k % 2] = float_to_bfloat16(weight);
    });
  }
}

#define FATHOM_PACK(type)                                            \
  template size_t quantised_bytes<type>(const MatrixDesc&) noexcept; \
  template void pack_quantised<type>(const MatrixDesc&, const void*, void*, int64_t, int64_t) noexcept
FATHOM_PACK(DType::q4_0);
FATHOM_PACK(DType::q5_0);
FATHOM_PACK(DType::q8_0);
FATHOM_PACK(DType::q4_k);
FATHOM_PACK(DType::q5_k);
FATHOM_PACK(DType::q6_k);
#undef FATHOM_PACK
#define FATHOM_PACK(type)                                        \
  template size_t plain_bytes<type>(const MatrixDesc&) noexcept; \
  template void pack_plain<type>(const MatrixDesc&, const void*, void*, int64_t, int64_t) noexcept
FATHOM_PACK(DType::f32);
FATHOM_PACK(DType::f16);
FATHOM_PACK(DType::bf16);
#undef FATHOM_PACK

}  // namespace fathom::kernels
