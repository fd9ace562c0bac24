// Writes panels (kernels/cpu/panel.h) from GGUF rows. Next in the flow: kernels/cpu/linear.cc, which reads them.
// Cost: about 0.4 ns a weight on one core, so that loading stays near the speed of the disk cache.
#include "kernels/cpu/pack.h"

#include <cstring>

#include "kernels/ref/dequant.h"

namespace fathom::kernels {
namespace {

// ---- 32 codes of one row from the file's blocks ------------------------------------------------------------------

void nibbles(const uint8_t* src, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = src[j] & 0xF;
    codes[j + 16] = src[j] >> 4;
  }
}

void add_fifth_bits(uint32_t bits, uint8_t* codes) {
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<uint8_t>(codes[j] | ((bits >> j) & 1) << 4);
}

/// Codes of inputs [32 run, 32 run + 32) of the file's block at `src`.
template <DType type>
void block_codes(const uint8_t* src, int run, uint8_t* codes) {
  if constexpr (type == DType::q4_0) {
    nibbles(src + 2, codes);
  } else if constexpr (type == DType::q5_0) {
    uint32_t bits;
    std::memcpy(&bits, src + 2, 4);
    nibbles(src + 6, codes);
    add_fifth_bits(bits, codes);
  } else if constexpr (type == DType::q8_0) {
    std::memcpy(codes, src + 2, 32);
  } else if constexpr (type == DType::q4_k) {
    const uint8_t* low = src + 16 + run / 2 * 32;
    for (int l = 0; l < 32; ++l) codes[l] = (low[l] >> (run % 2 * 4)) & 0xF;
  } else if constexpr (type == DType::q5_k) {
    const uint8_t *high = src + 16, *low = src + 48 + run / 2 * 32;
    for (int l = 0; l < 32; ++l) {
      codes[l] = static_cast<uint8_t>(((low[l] >> (run % 2 * 4)) & 0xF) | ((high[l] >> run) & 1) << 4);
    }
  } else {
    static_assert(type == DType::q6_k);
    const uint8_t *low = src + run / 4 * 64 + run % 2 * 32, *high = src + 128 + run / 4 * 32;
    const int low_shift = run % 4 / 2 * 4, high_shift = run % 4 * 2;
    for (int l = 0; l < 32; ++l) {
      codes[l] = static_cast<uint8_t>(((low[l] >> low_shift) & 0xF) | ((high[l] >> high_shift) & 3) << 4);
    }
  }
}

// ---- one block of codes of 16 outputs ------------------------------------------------------------------------------

using Quads = uint8_t[kQuads][kVectorBytes];

void put_nibbles(const Quads& q, uint8_t* dst) {
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < kVectorBytes; ++i) {
      dst[v * kVectorBytes + i] = static_cast<uint8_t>((q[v][i] & 0xF) | (q[v + 4][i] & 0xF) << 4);
    }
  }
}

void put_fifth_bits(const Quads& q, uint8_t* dst) {
  for (int i = 0; i < kVectorBytes; ++i) {
    int bits = 0;
    for (int j = 0; j < kQuads; ++j) bits |= (q[j][i] >> 4 & 1) << j;
    dst[i] = static_cast<uint8_t>(bits);
  }
}

void put_upper_pairs(const Quads& q, uint8_t* dst) {
  for (int v = 0; v < 2; ++v) {
    for (int i = 0; i < kVectorBytes; ++i) {
      int bits = 0;
      for (int j = 0; j < 4; ++j) bits |= (q[4 * v + j][i] >> 4 & 3) << (2 * j);
      dst[v * kVectorBytes + i] = static_cast<uint8_t>(bits);
    }
  }
}

void put_block(const PanelFormat& f, const uint8_t (&codes)[kPanelRows][kQuantBlock], uint8_t* dst) {
  Quads q;
  for (int o = 0; o < kPanelRows; ++o) {
    for (int j = 0; j < kQuads; ++j) std::memcpy(&q[j][4 * o], &codes[o][4 * j], 4);
  }
  if (f.signed_codes) {
    std::memcpy(dst, q, sizeof(Quads));
    return;
  }
  put_nibbles(q, dst);
  if (f.max_code == 31) put_fifth_bits(q, dst + 4 * kVectorBytes);
  if (f.max_code == 63) put_upper_pairs(q, dst + 4 * kVectorBytes);
}

// ---- scales of one output and one unit -----------------------------------------------------------------------------

/// Writes the head of a unit for output `o` of the panel.
template <DType type>
void put_scales(const uint8_t* src, int o, uint8_t* head) {
  if constexpr (type == DType::q4_k || type == DType::q5_k) {
    std::memcpy(head + 2 * o, src, 2);
    std::memcpy(head + kScaleBytes + 2 * o, src + 2, 2);
    const KScales k = unpack_k_scales(src + 4);
    for (int run = 0; run < 8; ++run) {
      const int low = (k.scale[run] & 15) | (k.min[run] & 15) << 4, high = k.scale[run] >> 4 | k.min[run] >> 4 << 2;
      head[kLowScales + run * kPanelRows + o] = static_cast<uint8_t>(low);
      head[kHighScales + run / 2 * kPanelRows + o] |= static_cast<uint8_t>(high << (run % 2 * 4));
    }
  } else if constexpr (type == DType::q6_k) {
    std::memcpy(head + 2 * o, src + 208, 2);
    for (int g = 0; g < 16; ++g) head[kScaleBytes + g * kPanelRows + o] = src[192 + g];
  } else {
    std::memcpy(head + 2 * o, src, 2);
  }
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

constexpr int64_t kMaxBytes = int64_t{1} << 46;  // shapes beyond it are declined, so that no product below overflows

bool acceptable(const MatrixDesc& m, int64_t unit, int64_t bytes_a_weight) {
  return m.rows > 0 && m.cols > 0 && m.cols % unit == 0 && m.rows <= kMaxBytes &&
         m.cols <= kMaxBytes / bytes_a_weight && m.rows <= kMaxBytes / (m.cols * bytes_a_weight);
}

/// Rows of panel `p` that the matrix has.
int rows_of(const MatrixDesc& m, int64_t p) {
  const int64_t rest = m.rows - p * kPanelRows;
  return static_cast<int>(rest < kPanelRows ? rest : kPanelRows);
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
  constexpr int64_t kMaxUnit = 256;
  const auto& type = info(m.type);
  const int64_t unit = type.block_elements > 1 ? type.block_elements : (m.cols < kMaxUnit ? m.cols : kMaxUnit);
  const size_t src_row_bytes = row_bytes(m.type, static_cast<size_t>(m.cols));
  for (int64_t p = begin; p < end; ++p) {
    auto* panel = reinterpret_cast<float*>(static_cast<uint8_t*>(dst) +
                                           static_cast<size_t>(p) * float_panel_bytes(DType::f32, m.cols));
    std::memset(panel, 0, float_panel_bytes(DType::f32, m.cols));
    for (int o = 0; o < rows_of(m, p); ++o) {
      const auto* row = static_cast<const uint8_t*>(src) + static_cast<size_t>(p * kPanelRows + o) * src_row_bytes;
      for (int64_t k = 0; k < m.cols; k += unit) {
        float weights[kMaxUnit];
        const int64_t n = m.cols - k < unit ? m.cols - k : unit;
        dequantize_row(m.type, row + row_bytes(m.type, static_cast<size_t>(k)), weights, n);
        for (int64_t i = 0; i < n; ++i) panel[(k + i) * kPanelRows + o] = weights[i];
      }
    }
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
