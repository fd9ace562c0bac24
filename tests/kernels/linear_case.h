// Random matrices in every file type, and the order of sums of kernels/cpu/panel.h written once more from the file's
// blocks: what every target must give bit for bit. Used by linear_test.cc.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "fathom/ops/kernel_table.h"
#include "kernels/abi.h"
#include "kernels/ref/dequant.h"

namespace fathom::testing {

enum class Fill { random, all_max, all_min };

/// A matrix in the file's layout, activations quantised in one plane or two and others as floats and as bf16, and a
/// bias.
struct LinearCase {
  MatrixDesc matrix;
  int64_t n;
  Numerics numerics;
  std::vector<uint8_t> weights;
  std::vector<float> src;          // [n, cols] for plain types
  std::vector<uint16_t> src_bf16;  // [n, padded_cols] the same, rounded
  std::vector<int32_t> q;          // [n, cols] what the planes hold
  std::vector<int8_t> values, low;
  std::vector<float> scales;
  std::vector<int32_t> sums;
  std::vector<float> bias;

  LinearCase(DType type, int64_t rows, int64_t cols, int64_t rows_left, uint32_t seed, Fill fill = Fill::random,
             Numerics numeric_path = Numerics::fast)
      : matrix{type, rows, cols},
        n(rows_left),
        numerics(numeric_path),
        weights(static_cast<size_t>(rows) * row_bytes(type, static_cast<size_t>(cols))) {
    std::mt19937 random(seed);
    fill_weights(random, fill);
    std::normal_distribution<float> normal;
    const int most = numerics == Numerics::faithful ? kMaxQ12 : kMaxQ8;
    std::uniform_int_distribution<int> value(-most, most);
    std::uniform_real_distribution<float> scale(0.001f, 0.02f);
    for (int64_t i = 0; i < n * cols; ++i) src.push_back(normal(random));
    src_bf16.resize(static_cast<size_t>(n * padded_cols(cols)));
    kernels::ref().round.run({src.data(), cols, src_bf16.data(), padded_cols(cols)}, 0, n);
    if (cols % kQuantBlock == 0) {
      for (int64_t i = 0; i < n * cols; ++i) {
        q.push_back(fill == Fill::random ? value(random) : fill == Fill::all_max ? most : -most);
      }
      for (int64_t i = 0; i < n * cols; i += kQuantBlock) scales.push_back(scale(random));
      put_planes();
    }
    for (int64_t o = 0; o < rows; ++o) bias.push_back(normal(random));
  }

  QuantRows quant() {
    return {values.data(), scales.data(), sums.data(), matrix.cols,
            numerics == Numerics::faithful ? low.data() : nullptr};
  }

  /// Replaces the quantised activations; their scales stay.
  void set(const std::vector<int32_t>& activations) {
    q = activations;
    put_planes();
  }

  /// Changes the sign of every quantised activation.
  void negate() {
    for (int32_t& x : q) x = -x;
    put_planes();
  }

  const uint8_t* row(int64_t o) const {
    return weights.data() + static_cast<size_t>(o) * row_bytes(matrix.type, static_cast<size_t>(matrix.cols));
  }
  bool plain() const { return info(matrix.type).block_elements == 1; }

 private:
  void put_planes() {
    values.clear(), low.clear(), sums.clear();
    for (const int32_t x : q) {
      const int32_t high = numerics == Numerics::faithful ? (x + 8) >> 4 : x;
      values.push_back(static_cast<int8_t>(high));
      low.push_back(static_cast<int8_t>(x - 16 * high));
    }
    for (size_t i = 0; i < q.size(); i += kSumBlock) {
      sums.push_back(std::accumulate(&q[i], &q[i] + kSumBlock, 0));
    }
  }

  template <class Random>
  void fill_weights(Random& random, Fill fill) {
    std::normal_distribution<float> normal(0.0f, 0.05f);
    const DType type = matrix.type;
    if (plain()) {
      for (size_t i = 0; i < weights.size(); i += info(type).block_bytes) {
        const float x = normal(random);
        const uint32_t bits = type == DType::f32   ? kernels::float_to_bits(x)
                              : type == DType::f16 ? kernels::float_to_half(x)
                                                   : kernels::float_to_bits(x) >> 16;
        std::memcpy(&weights[i], &bits, info(type).block_bytes);
      }
      return;
    }
    // Extreme codes: q8_0 and the scales of q6_k are signed bytes, everything else unsigned fields.
    const uint8_t high = type == DType::q8_0 ? 0x7F : 0xFF, low = type == DType::q8_0 ? 0x80 : 0x00;
    for (uint8_t& byte : weights)
      byte = fill == Fill::random ? static_cast<uint8_t>(random()) : fill == Fill::all_max ? high : low;
    for (size_t i = 0; i < weights.size(); i += info(type).block_bytes) {
      uint8_t* block = &weights[i];
      if (type == DType::q6_k && fill != Fill::random) std::memset(block + 192, 0x80, 16);
      const uint16_t d = kernels::float_to_half(normal(random)), dmin = kernels::float_to_half(normal(random));
      std::memcpy(type == DType::q6_k ? block + 208 : block, &d, 2);
      if (type == DType::q4_k || type == DType::q5_k) std::memcpy(block + 2, &dmin, 2);
    }
  }
};

/// Code of element `i` of a file block, its zero point subtracted.
inline int file_code(DType type, const uint8_t* block, int i) {
  const int j = i % 16, nibble = i % 32 / 16 * 4, run = i / 32, l = i % 32;
  switch (type) {
    case DType::q4_0:
      return ((block[2 + j] >> nibble) & 15) - 8;
    case DType::q5_0:
      return (((block[6 + j] >> nibble) & 15) | ((block[2 + i / 8] >> (i % 8)) & 1) << 4) - 16;
    case DType::q8_0:
      return static_cast<int8_t>(block[2 + i]);
    case DType::q4_k:
      return (block[16 + run / 2 * 32 + l] >> (run % 2 * 4)) & 15;
    case DType::q5_k:
      return ((block[48 + run / 2 * 32 + l] >> (run % 2 * 4)) & 15) | ((block[16 + l] >> run) & 1) << 4;
    default:
      return (((block[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4)) & 15) |
              ((block[128 + i / 128 * 32 + l] >> (i % 128 / 32 * 2)) & 3) << 4) -
             32;
  }
}

/// Output `o` of row `r` in the exact order of sums, before the bias.
inline float ordered_sum(const LinearCase& c, int64_t r, int64_t o) {
  const DType type = c.matrix.type;
  float acc = 0;
  if (c.plain()) {
    std::vector<float> weights(static_cast<size_t>(c.matrix.cols));
    kernels::dequantize_row(type, c.row(o), weights.data(), c.matrix.cols);
    for (size_t k = 0; k < weights.size(); ++k) {
      acc = std::fma(weights[k], c.src[static_cast<size_t>(r * c.matrix.cols) + k], acc);
    }
    return acc;
  }
  const int unit = static_cast<int>(info(type).block_elements);
  for (int64_t k = 0; k < c.matrix.cols; k += kQuantBlock) {
    const uint8_t* block = c.row(o) + static_cast<size_t>(k / unit) * info(type).block_bytes;
    const int first = static_cast<int>(k % unit), run = first / kQuantBlock;
    const int32_t* a = &c.q[static_cast<size_t>(r * c.matrix.cols + k)];
    const float s = c.scales[static_cast<size_t>((r * c.matrix.cols + k) / kQuantBlock)];
    const float d = kernels::detail::load_half(type == DType::q6_k ? block + 208 : block);
    int half[2] = {0, 0}, asum = 0;
    for (int i = 0; i < kQuantBlock; ++i) {
      half[i / 16] += file_code(type, block, first + i) * a[i];
      asum += a[i];
    }
    if (type == DType::q4_k || type == DType::q5_k) {
      const kernels::KScales scales = kernels::unpack_k_scales(block + 4);
      const float min = kernels::detail::load_half(block + 2) * static_cast<float>(scales.min[run]);
      const float t = static_cast<float>(half[0] + half[1]) * (d * static_cast<float>(scales.scale[run]));
      acc = std::fma(s, std::fma(-min, static_cast<float>(asum), t), acc);
    } else if (type == DType::q6_k) {
      const auto* scales = reinterpret_cast<const int8_t*>(block + 192) + 2 * run;
      const float lower = static_cast<float>(half[0]) * static_cast<float>(scales[0]);
      acc = std::fma(std::fma(static_cast<float>(half[1]), static_cast<float>(scales[1]), lower), d * s, acc);
    } else {
      acc = std::fma(static_cast<float>(half[0] + half[1]), d * s, acc);
    }
  }
  return acc;
}

/// The largest error of output `o` of row `r`, before the bias, against the specification in double: a sum of one term
/// for each block (each input where types are plain), each made by at most three roundings and added by one, and one or
/// two roundings of a weight in the specification. A weight with a minimum counts both its parts: their sum is at most
/// |weight| + 2 |min|.
inline double reference_bound(const LinearCase& c, int64_t r, int64_t o) {
  const MatrixDesc& m = c.matrix;
  std::vector<float> weights(static_cast<size_t>(m.cols));
  kernels::dequantize_row(m.type, c.row(o), weights.data(), m.cols);
  double sum = 0;
  for (int64_t k = 0; k < m.cols; ++k) {
    const auto i = static_cast<size_t>(r * m.cols + k);
    double min = 0;
    if (m.type == DType::q4_k || m.type == DType::q5_k) {
      const uint8_t* block = c.row(o) + k / 256 * info(m.type).block_bytes;
      min = std::abs(kernels::detail::load_half(block + 2)) * kernels::unpack_k_scales(block + 4).min[k % 256 / 32];
    }
    const double a = c.plain() ? c.src[i] : static_cast<double>(c.scales[i / kQuantBlock]) * c.q[i];
    sum += std::abs(a) * (std::abs(weights[static_cast<size_t>(k)]) + 2 * min);
  }
  return (static_cast<double>(c.plain() ? m.cols : m.cols / kQuantBlock) + 6) * 0x1p-24 * sum;
}

}  // namespace fathom::testing
