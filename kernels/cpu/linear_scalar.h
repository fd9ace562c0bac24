// Products without vectors: panels read one code at a time, in the order of sums of kernels/cpu/panel.h.
// Next in the flow: kernels/cpu/tables.cc. Runs where nothing better does, and in tests; speed is not its aim.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/cpu/panel.h"
#include "kernels/ref/half.h"

namespace fathom::kernels::scalar {

inline float half_at(const uint8_t* p, int o) {
  uint16_t half;
  std::memcpy(&half, p + 2 * o, 2);
  return half_to_float(half);
}

template <DType type>
float plain_at(const uint8_t* p, int64_t i) {
  if constexpr (type == DType::f32) {
    return reinterpret_cast<const float*>(p)[i];
  } else {
    const uint16_t half = reinterpret_cast<const uint16_t*>(p)[i];
    return type == DType::f16 ? half_to_float(half) : bfloat16_to_float(half);
  }
}

/// Code of byte `i` (4 output + input % 4) of quad `j`.
inline int code_at(const PanelFormat& f, const uint8_t* block, int j, int i) {
  if (f.signed_codes) return static_cast<int8_t>(block[j * kVectorBytes + i]);
  const uint8_t* high = block + 4 * kVectorBytes;
  int code = (block[j % 4 * kVectorBytes + i] >> (j / 4 * 4)) & 0xF;
  if (f.max_code == 31) code |= (high[i] >> j & 1) << 4;
  if (f.max_code == 63) code |= (high[j / 4 * kVectorBytes + i] >> (j % 4 * 2) & 3) << 4;
  return code - f.zero;
}

/// Sum of codes times activations over quads [begin, end) of a block.
inline int32_t dot(const PanelFormat& f, const uint8_t* block, int o, const int32_t* a, int begin, int end) {
  int32_t sum = 0;
  for (int j = begin; j < end; ++j) {
    for (int b = 0; b < 4; ++b) sum += code_at(f, block, j, 4 * o + b) * a[4 * j + b];
  }
  return sum;
}

/// One block's step of one output: `head` starts its unit, `run` counts blocks in the unit.
inline float step(const PanelFormat& f, const uint8_t* head, int run, int o, const int32_t* a, float scale, float acc) {
  const uint8_t* block = head + f.head_bytes + run * f.block_bytes;
  if (f.coding == Coding::zero_point) {
    return std::fma(static_cast<float>(dot(f, block, o, a, 0, kQuads)), half_at(head, o) * scale, acc);
  }
  if (f.coding == Coding::minimum) {
    const int low = head[kLowScales + run * kPanelRows + o];
    const int high = head[kHighScales + run / 2 * kPanelRows + o] >> (run % 2 * 4);
    const float d_scale = half_at(head, o) * static_cast<float>((low & 15) | (high & 3) << 4);
    const float d_min = half_at(head + kScaleBytes, o) * static_cast<float>(low >> 4 | (high >> 2 & 3) << 4);
    int32_t sum = 0;
    for (int i = 0; i < kQuantBlock; ++i) sum += a[i];
    const float t = static_cast<float>(dot(f, block, o, a, 0, kQuads)) * d_scale;
    return std::fma(scale, std::fma(-d_min, static_cast<float>(sum), t), acc);
  }
  const auto* scales = reinterpret_cast<const int8_t*>(head + kScaleBytes) + 2 * run * kPanelRows + o;
  const auto lower = static_cast<float>(dot(f, block, o, a, 0, kQuads / 2));
  const auto upper = static_cast<float>(dot(f, block, o, a, kQuads / 2, kQuads));
  const float t = std::fma(upper, static_cast<float>(scales[kPanelRows]), lower * static_cast<float>(scales[0]));
  return std::fma(t, half_at(head, o) * scale, acc);
}

template <DType type, int planes>
void run_quantised(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  constexpr PanelFormat f = kPanelFormat<type>;
  const int64_t cols = args.matrix.cols, blocks = cols / kQuantBlock;
  const auto* packed = static_cast<const uint8_t*>(args.packed);
  for (int64_t out = begin * kPanelRows; out < end * kPanelRows && out < args.matrix.rows; ++out) {
    const uint8_t* panel = packed + static_cast<size_t>(out / kPanelRows) * panel_bytes(f, cols);
    for (int64_t r = 0; r < args.n; ++r) {
      const int64_t first = r * args.src_quant.cols;
      const float* scales = args.src_quant.scales + r * (args.src_quant.cols / kQuantBlock);
      float acc = 0;
      for (int64_t b = 0; b < blocks; ++b) {
        int32_t a[kQuantBlock];
        for (int i = 0; i < kQuantBlock; ++i) {
          const int64_t at = first + b * kQuantBlock + i;
          a[i] = planes == 2 ? 16 * args.src_quant.values[at] + args.src_quant.low[at] : args.src_quant.values[at];
        }
        acc = step(f, panel + b / f.blocks() * f.unit_bytes(), static_cast<int>(b % f.blocks()),
                   static_cast<int>(out % kPanelRows), a, scales[b], acc);
      }
      args.dst[r * args.dst_stride + out] = args.bias != nullptr ? acc + args.bias[out] : acc;
    }
  }
}

template <DType type>
void run_plain(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  const int64_t cols = args.matrix.cols;
  for (int64_t out = begin * kPanelRows; out < end * kPanelRows && out < args.matrix.rows; ++out) {
    const auto* panel = static_cast<const uint8_t*>(args.packed) +
                        static_cast<size_t>(out / kPanelRows) * float_panel_bytes(type, cols);
    for (int64_t r = 0; r < args.n; ++r) {
      float acc = 0;
      for (int64_t k = 0; k < cols; ++k) {
        acc = std::fma(plain_at<type>(panel, k * kPanelRows + out % kPanelRows), args.src[r * cols + k], acc);
      }
      args.dst[r * args.dst_stride + out] = args.bias != nullptr ? acc + args.bias[out] : acc;
    }
  }
}

inline void run_rounded(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  const int64_t cols = args.matrix.cols, stride = padded_cols(cols);
  for (int64_t out = begin * kPanelRows; out < end * kPanelRows && out < args.matrix.rows; ++out) {
    const auto* panel = static_cast<const uint16_t*>(args.packed) + out / kPanelRows * cols * kPanelRows;
    for (int64_t r = 0; r < args.n; ++r) {
      float acc = 0;
      for (int64_t k = 0; k < cols; ++k) {
        acc = std::fma(bfloat16_to_float(panel[k * kPanelRows + out % kPanelRows]),
                       bfloat16_to_float(args.src_bf16[r * stride + k]), acc);
      }
      args.dst[r * args.dst_stride + out] = args.bias != nullptr ? acc + args.bias[out] : acc;
    }
  }
}

struct Runs {
  static constexpr auto rounded = run_rounded;
  template <DType type, int planes>
  static constexpr auto quantised = run_quantised<type, planes>;
  template <DType type>
  static constexpr auto plain = run_plain<type>;
};

}  // namespace fathom::kernels::scalar
