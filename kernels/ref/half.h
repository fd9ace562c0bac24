// 16-bit floats by bit arithmetic, equal on every machine. Next in the flow: kernels/ref/dequant.h.
#pragma once

#include <cstdint>
#include <cstring>

namespace fathom::kernels {

inline float bits_to_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

inline uint32_t float_to_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

/// The value of an IEEE binary16, exactly; subnormals included.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1F;
  const uint32_t mantissa = half & 0x3FFu;
  if (exponent == 0x1F) return bits_to_float(sign | 0x7F800000u | (mantissa << 13));
  if (exponent != 0) return bits_to_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // exact: ten bits
  return sign != 0 ? -magnitude : magnitude;
}

/// The nearest binary16, ties to even; overflow gives infinity, NaN stays NaN.
inline uint16_t float_to_half(float x) {
  const uint32_t bits = float_to_bits(x);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // 65520 and up
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 leaves the multiple of 2^-24, rounded to even, in the low mantissa bits.
    const float shifted = bits_to_float(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (float_to_bits(shifted) - 0x3F000000u));
  }
  const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

/// The value of a bfloat16, exactly.
inline float bfloat16_to_float(uint16_t half) { return bits_to_float(static_cast<uint32_t>(half) << 16); }

/// The nearest bfloat16, ties to even; NaN stays NaN.
inline uint16_t float_to_bfloat16(float x) {
  const uint32_t bits = float_to_bits(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/// Numbers of a cache as they lie in memory; binary16 is plain uint16_t.
struct BFloat16 {
  uint16_t bits;
};
inline constexpr float kLargestHalf = 65504.0f, kLargestBFloat16 = 3.38953139e38f;

}  // namespace fathom::kernels
