// The pieces packing is made of: codes and scales of a file's blocks, and where they go in a panel.
// Next in the flow: kernels/cpu/pack.cc (one stream), kernels/cpu/head_pack.cc (two planes).
#pragma once

#include <cstring>

#include "kernels/cpu/panel.h"
#include "kernels/ref/dequant.h"

namespace fathom::kernels {

// ---- 32 codes of one row from the file's blocks ------------------------------------------------------------------

inline void nibbles(const uint8_t* src, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = src[j] & 0xF;
    codes[j + 16] = src[j] >> 4;
  }
}

inline void add_fifth_bits(uint32_t bits, uint8_t* codes) {
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

/// The lower four bits of each code.
inline void put_nibbles(const Quads& q, uint8_t* dst) {
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < kVectorBytes; ++i) {
      dst[v * kVectorBytes + i] = static_cast<uint8_t>((q[v][i] & 0xF) | (q[v + 4][i] & 0xF) << 4);
    }
  }
}

inline void put_fifth_bits(const Quads& q, uint8_t* dst) {
  for (int i = 0; i < kVectorBytes; ++i) {
    int bits = 0;
    for (int j = 0; j < kQuads; ++j) bits |= (q[j][i] >> 4 & 1) << j;
    dst[i] = static_cast<uint8_t>(bits);
  }
}

/// Two bits of each code, from bit `shift` on.
inline void put_pairs(const Quads& q, int shift, uint8_t* dst) {
  for (int v = 0; v < 2; ++v) {
    for (int i = 0; i < kVectorBytes; ++i) {
      int bits = 0;
      for (int j = 0; j < 4; ++j) bits |= (q[4 * v + j][i] >> shift & 3) << (2 * j);
      dst[v * kVectorBytes + i] = static_cast<uint8_t>(bits);
    }
  }
}

/// 32 codes of 16 outputs as quads.
inline void gather_quads(const uint8_t (&codes)[kPanelRows][kQuantBlock], Quads& q) {
  for (int o = 0; o < kPanelRows; ++o) {
    for (int j = 0; j < kQuads; ++j) std::memcpy(&q[j][4 * o], &codes[o][4 * j], 4);
  }
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

inline constexpr int64_t kMaxBytes = int64_t{1}
                                     << 46;  // shapes beyond it are declined, so that no product below overflows

inline bool acceptable(const MatrixDesc& m, int64_t unit, int64_t bytes_a_weight) {
  return m.rows > 0 && m.cols > 0 && m.cols % unit == 0 && m.rows <= kMaxBytes &&
         m.cols <= kMaxBytes / bytes_a_weight && m.rows <= kMaxBytes / (m.cols * bytes_a_weight);
}

/// Rows of panel `p` that the matrix has.
inline int rows_of(const MatrixDesc& m, int64_t p) {
  const int64_t rest = m.rows - p * kPanelRows;
  return static_cast<int>(rest < kPanelRows ? rest : kPanelRows);
}

}  // namespace fathom::kernels
