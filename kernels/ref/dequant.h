// What the bytes of each weight type mean: GGUF's block layouts as numbers. Next in the flow: kernels/ref/ref.cc.
// Source: the GGUF format's definition in ggml (ggml-common.h, block_*); values equal its f32 arithmetic, in its order.
#pragma once

#include <cstdint>
#include <cstring>

#include "fathom/core/dtype.h"
#include "kernels/ref/half.h"

namespace fathom::kernels {

namespace detail {

inline float load_half(const uint8_t* p) {
  uint16_t half;
  std::memcpy(&half, p, 2);
  return half_to_float(half);
}

/// q4_0: d f16, 16 bytes; element j is the low nibble of byte j, element j + 16 the high one. (q - 8) d
inline void block_q4_0(const uint8_t* src, float* dst) {
  const float d = load_half(src);
  for (int j = 0; j < 16; ++j) {
    dst[j] = static_cast<float>((src[2 + j] & 0xF) - 8) * d;
    dst[j + 16] = static_cast<float>((src[2 + j] >> 4) - 8) * d;
  }
}

/// q5_0: d f16, 32 fifth bits (bit i of element i), 16 bytes of nibbles as q4_0. (q - 16) d
inline void block_q5_0(const uint8_t* src, float* dst) {
  const float d = load_half(src);
  uint32_t high;
  std::memcpy(&high, src + 2, 4);
  for (int j = 0; j < 16; ++j) {
    const int lo = (src[6 + j] & 0xF) | static_cast<int>((high >> j) & 1) << 4;
    const int hi = (src[6 + j] >> 4) | static_cast<int>((high >> (j + 16)) & 1) << 4;
    dst[j] = static_cast<float>(lo - 16) * d;
    dst[j + 16] = static_cast<float>(hi - 16) * d;
  }
}

/// q8_0: d f16, 32 signed bytes. q d
inline void block_q8_0(const uint8_t* src, float* dst) {
  const float d = load_half(src);
  for (int j = 0; j < 32; ++j) dst[j] = static_cast<float>(static_cast<int8_t>(src[2 + j])) * d;
}

}  // namespace detail

/// The eight 6-bit scales and 6-bit minima of a q4_k or q5_k block, from its 12 packed bytes.
struct KScales {
  uint8_t scale[8], min[8];
};

inline KScales unpack_k_scales(const uint8_t* packed) {
  KScales k;
  for (int j = 0; j < 4; ++j) {
    k.scale[j] = packed[j] & 63;
    k.min[j] = packed[j + 4] & 63;
    k.scale[j + 4] = static_cast<uint8_t>((packed[j + 8] & 0xF) | (packed[j] >> 6) << 4);
    k.min[j + 4] = static_cast<uint8_t>((packed[j + 8] >> 4) | (packed[j + 4] >> 6) << 4);
  }
  return k;
}

namespace detail {

/// q4_k: d f16, dmin f16, 12 bytes of scales, 128 bytes; each 32 bytes hold two runs of 32 (low, then high nibbles).
/// q5_k has 32 bytes of fifth bits before them: bit 2 g and 2 g + 1 of byte l for runs 2 g and 2 g + 1.
/// (d scale) q - dmin min
template <bool kFifthBit>
void block_q45_k(const uint8_t* src, float* dst) {
  const float d = load_half(src), dmin = load_half(src + 2);
  const KScales k = unpack_k_scales(src + 4);
  const uint8_t* high = src + 16;
  const uint8_t* low = src + (kFifthBit ? 48 : 16);
  for (int run = 0; run < 8; ++run) {
    const float scale = d * static_cast<float>(k.scale[run]), min = dmin * static_cast<float>(k.min[run]);
    for (int l = 0; l < 32; ++l) {
      int q = (low[(run / 2) * 32 + l] >> (run % 2 * 4)) & 0xF;
      if (kFifthBit) q |= ((high[l] >> run) & 1) << 4;
      dst[run * 32 + l] = scale * static_cast<float>(q) - min;
    }
  }
}

/// q6_k: 128 bytes of low nibbles, 64 of upper bit pairs, 16 signed scales (each for 16 elements), d f16.
/// Each half of 128 elements is four runs of 32: nibbles low(0..31), low(32..63), high(0..31), high(32..63).
/// (d scale) (q - 32)
inline void block_q6_k(const uint8_t* src, float* dst) {
  const float d = load_half(src + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, run = i % 128 / 32, l = i % 32;
    const int low = (src[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4)) & 0xF;
    const int high = (src[128 + half * 32 + l] >> (run * 2)) & 3;
    const float scale = d * static_cast<float>(static_cast<int8_t>(src[192 + i / 16]));
    dst[i] = scale * static_cast<float>((low | high << 4) - 32);
  }
}

template <void (*kBlock)(const uint8_t*, float*)>
void blocks(DType type, const void* src, float* dst, int64_t cols) {
  const auto* p = static_cast<const uint8_t*>(src);
  for (int64_t i = 0; i < cols; i += info(type).block_elements, p += info(type).block_bytes) kBlock(p, dst + i);
}

template <float (*kConvert)(uint16_t)>
void halves(const void* src, float* dst, int64_t cols) {
  for (int64_t i = 0; i < cols; ++i) {
    uint16_t half;
    std::memcpy(&half, static_cast<const uint8_t*>(src) + 2 * i, 2);
    dst[i] = kConvert(half);
  }
}

}  // namespace detail

/// Expands one row of `cols` elements, a whole number of blocks; `src` need not be aligned.
inline void dequantize_row(DType type, const void* src, float* dst, int64_t cols) {
  switch (type) {
    case DType::f32:
      std::memcpy(dst, src, static_cast<size_t>(cols) * 4);
      break;
    case DType::f16:
      detail::halves<half_to_float>(src, dst, cols);
      break;
    case DType::bf16:
      detail::halves<bfloat16_to_float>(src, dst, cols);
      break;
    case DType::q4_0:
      detail::blocks<detail::block_q4_0>(type, src, dst, cols);
      break;
    case DType::q5_0:
      detail::blocks<detail::block_q5_0>(type, src, dst, cols);
      break;
    case DType::q8_0:
      detail::blocks<detail::block_q8_0>(type, src, dst, cols);
      break;
    case DType::q4_k:
      detail::blocks<detail::block_q45_k<false>>(type, src, dst, cols);
      break;
    case DType::q5_k:
      detail::blocks<detail::block_q45_k<true>>(type, src, dst, cols);
      break;
    case DType::q6_k:
      detail::blocks<detail::block_q6_k>(type, src, dst, cols);
      break;
  }
}

}  // namespace fathom::kernels
