// Split panels without vectors: one code at a time, the product in the order of sums of kernels/cpu/panel.h.
// Next in the flow: kernels/cpu/tables.cc. Runs where nothing better does, and in tests; speed is not its aim.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/cpu/linear_scalar.h"
#include "kernels/cpu/linear_tile.h"
#include "kernels/cpu/split_panel.h"

namespace fathom::kernels::scalar {

/// Four upper bits of byte `i` of quad `j`.
inline int high_at(const uint8_t* block, int j, int i) { return block[j % 4 * kVectorBytes + i] >> (j / 4 * 4) & 15; }

/// The lower bits.
inline int low_at(const SplitFormat& f, const uint8_t* block, int j, int i) {
  if (f.low_bits == 4) return high_at(block, j, i);
  return block[j / 4 * kVectorBytes + i] >> (j % 4 * 2) & 3;
}

/// Activations of one block of a row as whole numbers.
inline void load_block(const QuantRows& src, int64_t row, int64_t block, int32_t* a) {
  for (int i = 0; i < kQuantBlock; ++i) {
    const int64_t at = row * src.cols + block * kQuantBlock + i;
    a[i] = src.low != nullptr ? 16 * src.values[at] + src.low[at] : src.values[at];
  }
}

/// What one block adds to an output. Sums are those of its two halves of 16 inputs.
template <DType type>
float add_block(const uint8_t* head, int run, int o, const int32_t* sums, float scale, float acc) {
  if constexpr (type == DType::q8_0) {
    return std::fma(static_cast<float>(sums[0] + sums[1]), half_at(head, o) * scale, acc);
  }
  const auto* scales = reinterpret_cast<const int8_t*>(head + kScaleBytes) + 2 * run * kPanelRows + o;
  const float lower = static_cast<float>(sums[0]) * static_cast<float>(scales[0]);
  const float t = std::fma(static_cast<float>(sums[1]), static_cast<float>(scales[kPanelRows]), lower);
  return std::fma(t, half_at(head, o) * scale, acc);
}

/// Calls step(head, run, block, high codes, low codes) for every block of a panel.
template <DType type, class Step>
void for_blocks(const MatrixDesc& m, const void* packed, int64_t panel, Step step) {
  using Layout = SplitLayout<type>;
  const Layout layout(m);
  const auto* bytes = static_cast<const uint8_t*>(packed);
  for (int64_t b = 0; b < layout.blocks; ++b) {
    const int run = static_cast<int>(b % Layout::kPanel.blocks());
    const uint8_t* head =
        bytes + layout.high_at(panel) + layout.norm_bytes + b / Layout::kPanel.blocks() * Layout::kHighUnitBytes;
    step(head, run, b, head + Layout::kPanel.head_bytes + run * Layout::kHighBlockBytes,
         bytes + layout.low_at(panel) + b * Layout::kSplit.low_block_bytes);
  }
}

template <DType type, int planes>
void run_split(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  constexpr SplitFormat f = kSplitFormat<type>;
  constexpr int kZero = static_cast<int>(f.largest_code);
  for (int64_t out = begin * kPanelRows; out < end * kPanelRows && out < args.matrix.rows; ++out) {
    const auto o = static_cast<int>(out % kPanelRows);
    for (int64_t r = 0; r < args.n; ++r) {
      float acc = 0;
      for_blocks<type>(args.matrix, args.packed, out / kPanelRows,
                       [&](const uint8_t* head, int run, int64_t b, const uint8_t* high, const uint8_t* low) {
                         int32_t a[kQuantBlock], sums[2] = {};
                         load_block(args.src_quant, r, b, a);
                         for (int i = 0; i < kQuantBlock; ++i) {
                           const int j = i / 4, byte = 4 * o + i % 4;
                           const int code = high_at(high, j, byte) << f.low_bits | low_at(f, low, j, byte);
                           sums[i / 16] += (code - kZero) * a[i];
                         }
                         const float scale = args.src_quant.scales[r * (args.src_quant.cols / kQuantBlock) + b];
                         acc = add_block<type>(head, run, o, sums, scale, acc);
                       });
      args.dst[r * args.dst_stride + out] = args.bias != nullptr ? acc + args.bias[out] : acc;
    }
  }
}

template <DType type, int planes>
void run_listed(const LinearArgs& args, const int32_t* panels, int64_t n_panels) noexcept {
  for (int64_t i = 0; i < n_panels; ++i) run_split<type, planes>(args, panels[i], panels[i] + 1);
}

/// Radius that an output's norms give a row.
inline float norm_radius(const uint8_t* norms, int64_t groups, int o, const float* prepared) {
  uint16_t half;
  std::memcpy(&half, norms + 2 * o, 2);
  float radius = kLeastRadius;
  for (int64_t g = 0; g < groups; ++g) {
    const float norm = bfloat16_to_float(half) * static_cast<float>(norms[kScaleBytes + g * kPanelRows + o]);
    radius = std::fma(norm, prepared[g], radius);
  }
  return radius;
}

template <DType type, int planes>
void screen(const ScreenArgs& args, int64_t begin, int64_t end) noexcept {
  constexpr SplitFormat f = kSplitFormat<type>;
  constexpr int kShares = kQuantBlock / f.scale_inputs;
  const SplitLayout<type> layout(args.matrix);
  const int64_t stride = ScreenRow::floats<type>(args.matrix.cols);
  for (int64_t out = begin * kPanelRows; out < end * kPanelRows; ++out) {
    const auto o = static_cast<int>(out % kPanelRows);
    const uint8_t* norms = static_cast<const uint8_t*>(args.packed) + layout.high_at(out / kPanelRows);
    for (int64_t r = 0; r < args.n; ++r) {
      const float* prepared = args.prepared + r * stride;
      float middle = 0, radius = norm_radius(norms, layout.groups, o, prepared);
      for_blocks<type>(
          args.matrix, args.packed, out / kPanelRows,
          [&](const uint8_t* head, int run, int64_t b, const uint8_t* high, const uint8_t*) {
            int32_t a[kQuantBlock], sums[2] = {};
            load_block(args.src_quant, r, b, a);
            for (int i = 0; i < kQuantBlock; ++i)
              sums[i / 16] += ((high_at(high, i / 4, 4 * o + i % 4) << f.value_shift) - f.value_zero) * a[i];
            const float scale = args.src_quant.scales[r * (args.src_quant.cols / kQuantBlock) + b];
            middle = add_block<type>(head, run, o, sums, scale, middle);
            const auto* scales = reinterpret_cast<const int8_t*>(head + kScaleBytes) + 2 * run * kPanelRows + o;
            for (int share = 0; share < kShares; ++share) {
              const float d = half_at(head, o);
              const float of = kShares == 1 ? d : d * static_cast<float>(scales[share * kPanelRows]);
              radius = std::fma(std::abs(of), prepared[kMaxGroups + b * kShares + share], radius);
            }
          });
      const float bias = args.bias != nullptr && out < args.matrix.rows ? args.bias[out] : 0.0f;
      const float lower = 0.5f * middle - radius + bias, upper = 0.5f * middle + radius + bias;
      const bool proven = radius < kLargestRadius && lower <= upper;
      const int64_t at = r * args.dst_stride + out - begin * kPanelRows;
      args.lower[at] = proven ? lower : -std::numeric_limits<float>::infinity();
      args.upper[at] = proven ? upper : std::numeric_limits<float>::infinity();
    }
  }
}

struct HeadRuns {
  template <DType type, int planes>
  static constexpr auto split = run_split<type, planes>;
  template <DType type, int planes>
  static constexpr auto listed = run_listed<type, planes>;
  template <DType type, int planes>
  static constexpr auto screen = scalar::screen<type, planes>;
};

}  // namespace fathom::kernels::scalar
