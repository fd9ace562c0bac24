// Head matrices that are hard to screen, and the checks a screen must pass. Used by head_test.cc and
// screened_head_test.cc.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "fathom/core/tensor.h"
#include "kernels/abi.h"
#include "tests/kernels/linear_case.h"

namespace fathom::testing {

inline constexpr float kInf = std::numeric_limits<float>::infinity();

/// The file's blocks of a matrix, to be changed one by one.
struct FileBlocks {
  LinearCase& c;

  int64_t unit() const { return static_cast<int64_t>(info(c.matrix.type).block_elements); }
  int64_t n() const { return c.matrix.cols / unit(); }
  uint8_t* at(int64_t row, int64_t block) {
    return c.weights.data() + (c.row(row) - c.weights.data()) +
           static_cast<size_t>(block) * info(c.matrix.type).block_bytes;
  }
  void set_scale(int64_t row, int64_t block, uint16_t half) {
    std::memcpy(at(row, block) + (c.matrix.type == DType::q6_k ? 208 : 0), &half, 2);
  }
  void set_scale(int64_t row, int64_t block, float scale) { set_scale(row, block, kernels::float_to_half(scale)); }
  void set_all_scales(float scale) {
    for (int64_t r = 0; r < c.matrix.rows; ++r) {
      for (int64_t b = 0; b < n(); ++b) set_scale(r, b, scale);
    }
  }
  /// Gives all blocks one scale; q6_k's scales of 16 inputs become 1.
  void set_one_scale(float scale) {
    set_all_scales(scale);
    if (c.matrix.type != DType::q6_k) return;
    for (int64_t r = 0; r < c.matrix.rows; ++r) {
      for (int64_t b = 0; b < n(); ++b) std::memset(at(r, b) + 192, 1, 16);
    }
  }
  /// Sets the code of one input: signed for q8_0, 0 to 63 for q6_k.
  void set_code(int64_t row, int64_t input, int code) {
    uint8_t* block = at(row, input / unit());
    const auto i = static_cast<int>(input % unit());
    if (c.matrix.type == DType::q8_0) {
      block[2 + i] = static_cast<uint8_t>(code);
      return;
    }
    uint8_t& low = block[i / 128 * 64 + i % 64];
    uint8_t& high = block[128 + i / 128 * 32 + i % 32];
    const int low_shift = i % 128 / 64 * 4, high_shift = i % 128 / 32 * 2;
    low = static_cast<uint8_t>((low & ~(15 << low_shift)) | (code & 15) << low_shift);
    high = static_cast<uint8_t>((high & ~(3 << high_shift)) | (code >> 4 & 3) << high_shift);
  }
};

inline const HeadKernel* head_kernel_for(const KernelTable& table, const LinearCase& c) {
  const HeadList& list = table.head[static_cast<int>(c.numerics)];
  for (int32_t i = 0; i < list.n; ++i) {
    if (list.kernels[i].product.packed_bytes(c.matrix) != 0) return &list.kernels[i];
  }
  return nullptr;
}

/// A case packed by a head kernel.
struct PackedHead {
  const HeadKernel* kernel;
  Buffer memory;
  int64_t panels;

  PackedHead(const KernelTable& table, const LinearCase& c)
      : kernel(head_kernel_for(table, c)),
        memory(kernel->product.packed_bytes(c.matrix)),
        panels((c.matrix.rows + kernel->product.panel_rows - 1) / kernel->product.panel_rows) {
    kernel->product.pack(c.matrix, c.weights.data(), memory.data(), 0, panels);
  }

  std::vector<float> product(LinearCase& c, int64_t n, int64_t split, bool with_bias) const {
    std::vector<float> dst(static_cast<size_t>(n * c.matrix.rows));
    const LinearArgs args{c.matrix,   memory.data(), nullptr, c.quant(), n, with_bias ? c.bias.data() : nullptr,
                          dst.data(), c.matrix.rows};
    for (int64_t p = 0; p < panels; p += split) kernel->product.run(args, p, std::min(panels, p + split));
    return dst;
  }
};

/// Bounds of n rows, [n, panels * panel_rows].
struct Bounds {
  std::vector<float> lower, upper;
  int64_t stride;

  Bounds(const PackedHead& head, LinearCase& c, int64_t n, bool with_bias) : stride(head.panels * 16) {
    const auto floats = static_cast<size_t>(head.kernel->prepared_floats(c.matrix));
    std::vector<float> prepared(static_cast<size_t>(n) * floats);
    for (int64_t r = 0; r < n; ++r)
      head.kernel->prepare(c.matrix, c.quant(), r, prepared.data() + static_cast<size_t>(r) * floats);
    lower.resize(static_cast<size_t>(n * stride));
    upper = lower;
    const auto screen = [&](int64_t begin, int64_t end) {
      const int64_t at = begin * head.kernel->product.panel_rows;
      head.kernel->screen({c.matrix, head.memory.data(), c.quant(), prepared.data(), n,
                           with_bias ? c.bias.data() : nullptr, lower.data() + at, upper.data() + at, stride},
                          begin, end);
    };
    screen(0, head.panels / 2);
    screen(head.panels / 2, head.panels);
  }
};

/// Every logit lies within its bounds, on every target of this machine.
inline ::testing::AssertionResult bounds_hold(LinearCase& c, int64_t n) {
  int32_t n_tables = 0;
  const KernelTable* const* tables = kernels::cpu(&n_tables);
  for (int32_t t = 0; t < n_tables; ++t) {
    const PackedHead head(*tables[t], c);
    for (const bool with_bias : {false, true}) {
      const std::vector<float> logits = head.product(c, n, 4, with_bias);
      const Bounds bounds(head, c, n, with_bias);
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t o = 0; o < c.matrix.rows; ++o) {
          const float logit = logits[static_cast<size_t>(r * c.matrix.rows + o)];
          const float low = bounds.lower[static_cast<size_t>(r * bounds.stride + o)];
          const float high = bounds.upper[static_cast<size_t>(r * bounds.stride + o)];
          if (logit != logit ? low == -kInf && high == kInf : low <= logit && logit <= high) continue;
          return ::testing::AssertionFailure()
                 << fmt::format("{}: output {} of row {} is {:.9g}, its bounds {:.9g} and {:.9g}", tables[t]->name, o,
                                r, logit, low, high);
        }
      }
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace fathom::testing
