// Reference row kernels; where a fast kernel must agree bit for bit (embed, quantize, add, kv_write) the f32 operations
// are spelled out, elsewhere sums are double. Next in the flow: kernels/ref/linear.cc.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/ref/dequant.h"
#include "kernels/ref/kernels.h"

namespace fathom::kernels::reference {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

int64_t at(const int32_t* index, int64_t i) { return index != nullptr ? index[i] : i; }

double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

/// The largest magnitude of a block, infinity where one of them is infinite or not a number.
float block_max(const float* src, int64_t n) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(src[i])) return std::numeric_limits<float>::infinity();
    most = std::max(most, std::abs(src[i]));
  }
  return most;
}

/// Quantises one block of `n` <= 32 numbers to |q| <= `largest` and pads it with zeros. A block that is not finite gets
/// zeros and the scale NaN, so that every product that reads it is NaN; a scale below FLT_MIN gets zeros and the scale
/// 0.
void quantize_block(const float* src, int64_t n, float largest, int32_t* q, float* scale) {
  const float most = block_max(src, n);
  *scale = most / largest;
  const bool poisoned = std::isinf(most);
  if (poisoned) *scale = std::numeric_limits<float>::quiet_NaN();
  if (*scale < FLT_MIN) *scale = 0;
  const bool zero = poisoned || *scale == 0;
  for (int64_t i = 0; i < kQuantBlock; ++i) {
    q[i] = zero || i >= n ? 0 : static_cast<int32_t>(std::nearbyint(src[i] * (largest / most)));
  }
}

/// 0.5 a (1 + tanh u) is a / (1 + exp(-2 u)), which keeps its digits where tanh u is near -1.
double gate(Gate kind, double a) {
  if (kind == Gate::silu) return a / (1 + std::exp(-a));
  if (kind == Gate::gelu) return 0.5 * a * std::erfc(-a / std::sqrt(2.0));
  const double u = std::sqrt(2 / std::acos(-1.0)) * (a + 0.044715 * a * a * a);
  return a / (1 + std::exp(-2 * u));
}

void rotate(float* x, float* y, float cos, float sin) {
  const double a = *x, b = *y;
  *x = static_cast<float>(a * cos - b * sin);
  *y = static_cast<float>(a * sin + b * cos);
}

/// Large numbers as the largest finite one: an infinity in the cache would spoil every later row.
float cut(float x, float most) { return std::isnan(x) ? x : std::clamp(x, -most, most); }

void store(DType type, void* dst, int64_t i, float x) {
  if (type == DType::f32) {
    static_cast<float*>(dst)[i] = x;
  } else {
    static_cast<uint16_t*>(dst)[i] =
        type == DType::f16 ? float_to_half(cut(x, kLargestHalf)) : float_to_bfloat16(cut(x, kLargestBFloat16));
  }
}

}  // namespace

void embed(const EmbedArgs& args, int64_t begin, int64_t end) noexcept {
  const size_t bytes = row_bytes(args.type, static_cast<size_t>(args.cols));
  for (int64_t i = begin; i < end; ++i) {
    float* dst = args.dst + i * args.cols;
    const char* row = static_cast<const char*>(args.table) + static_cast<size_t>(args.ids[i]) * bytes;
    dequantize_row(args.type, row, dst, args.cols);
    for (int64_t c = 0; c < args.cols; ++c) dst[c] *= args.scale;
  }
}

void norm(const NormArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const float* src = args.src + at(args.index, i) * args.cols;
    float* dst = args.dst + i * args.cols;
    const auto n = static_cast<double>(args.cols);
    const double centre = args.kind == NormKind::layer ? std::accumulate(src, src + args.cols, 0.0) / n : 0;
    double square = 0;
    for (int64_t c = 0; c < args.cols; ++c) square += (src[c] - centre) * (src[c] - centre);
    const double inverse = 1 / std::sqrt(square / n + args.eps);
    for (int64_t c = 0; c < args.cols; ++c) {
      const double bias = args.bias != nullptr ? args.bias[c] : 0;
      dst[c] = static_cast<float>((src[c] - centre) * inverse * args.weight[c] + bias);
    }
  }
}

void quantize(const QuantizeArgs& args, int64_t begin, int64_t end) noexcept {
  const QuantRows& dst = args.dst;
  for (int64_t i = begin; i < end; ++i) {
    const float* src = args.src + i * args.src_cols;
    for (int64_t c = 0; c < dst.cols; c += kQuantBlock) {
      const int64_t n = std::clamp<int64_t>(args.src_cols - c, 0, kQuantBlock), at = i * dst.cols + c;
      int32_t q[kQuantBlock];
      quantize_block(src + std::min(c, args.src_cols), n, dst.low != nullptr ? kMaxQ12 : kMaxQ8, q,
                     dst.scales + at / kQuantBlock);
      for (int j = 0; j < kQuantBlock; ++j) {
        const int32_t high = dst.low != nullptr ? (q[j] + 8) >> 4 : q[j];
        dst.values[at + j] = static_cast<int8_t>(high);
        if (dst.low != nullptr) dst.low[at + j] = static_cast<int8_t>(q[j] - 16 * high);
      }
      for (int half = 0; half < 2; ++half) {
        const int32_t* from = q + half * kSumBlock;
        dst.sums[at / kSumBlock + half] = std::accumulate(from, from + kSumBlock, 0);
      }
    }
  }
}

void round(const RoundArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    uint16_t* dst = args.dst + i * args.dst_cols;
    const float* src = args.src + i * args.src_cols;
    std::transform(src, src + args.src_cols, dst, float_to_bfloat16);
    std::fill(dst + args.src_cols, dst + args.dst_cols, uint16_t{0});
  }
}

void gated(const GatedArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin * args.cols; i < end * args.cols; ++i) {
    args.dst[i] = static_cast<float>(gate(args.kind, args.a[i]) * (args.b != nullptr ? args.b[i] : 1.0f));
  }
}

void add(const AddArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    float* x = args.x + at(args.index, i) * args.cols;
    for (int64_t c = 0; c < args.cols; ++c) x[c] += args.y[i * args.cols + c];
  }
}

void rope(const RopeArgs& args, int64_t begin, int64_t end) noexcept {
  const int64_t pairs = args.rope_dim / 2;
  const bool halves = args.pairing == Pairing::halves;
  for (int64_t i = begin; i < end; ++i) {
    const float* cos_sin = args.cos_sin + i * pairs * 2;
    for (int64_t h = 0; h < args.heads; ++h) {
      float* x = args.x + (i * args.heads + h) * args.head_dim;
      for (int64_t p = 0; p < pairs; ++p) {
        float* first = x + (halves ? p : 2 * p);
        rotate(first, first + (halves ? pairs : 1), cos_sin[2 * p], cos_sin[2 * p + 1]);
      }
    }
  }
}

void similarity(const SimilarityArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const float* a = args.a + at(args.index, i) * args.cols;
    const float* b = args.b + i * args.cols;
    const double norms = std::sqrt(dot(a, a, args.cols) * dot(b, b, args.cols));
    args.dst[i] = norms == 0 ? 0.0f : static_cast<float>(dot(a, b, args.cols) / norms);
  }
}

void dots(const DotsArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const float* a = args.a + args.index[i] * args.cols;
    for (int64_t j = 0; j < args.n_b; ++j) {
      args.dst[i * args.n_b + j] = static_cast<float>(dot(a, args.b + args.index_b[j] * args.cols, args.cols));
    }
  }
}

void logit_stats(const LogitStatsArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const float* x = args.logits + i * args.vocab;
    int32_t best = 0;
    double max = -kInfinity, second = -kInfinity;
    bool nan = false;
    for (int64_t t = 0; t < args.vocab; ++t) {
      nan |= std::isnan(x[t]);
      if (x[t] > max) {
        second = max;
        max = x[t];
        best = static_cast<int32_t>(t);
      } else if (x[t] > second) {
        second = x[t];
      }
    }
    double sum = 0, weighted = 0;  // of exp(x - max), and of the same times (x - max)
    for (int64_t t = 0; t < args.vocab && std::isfinite(max); ++t) {
      const double weight = std::exp(x[t] - max);
      sum += weight;
      if (weight > 0) weighted += weight * (x[t] - max);
    }
    const double log_sum = std::isfinite(max) ? max + std::log(sum) : max;
    const double entropy = std::isfinite(max) ? std::log(sum) - weighted / sum : std::nan("");
    args.dst[i] = {best, static_cast<float>(max), static_cast<float>(second),
                   static_cast<float>(nan ? std::nan("") : log_sum), static_cast<float>(nan ? std::nan("") : entropy)};
  }
}

void kv_write(const KvWriteArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const KvCell cell = args.cells[i];
    for (int64_t h = 0; h < args.kv_heads; ++h) {
      for (int64_t d = 0; d < args.head_dim; ++d) {
        const int64_t src = (i * args.kv_heads + h) * args.head_dim + d;
        store(args.type, cell.page->k, (h * args.head_dim + d) * kPageCells + cell.slot, args.k[src]);
        store(args.type, cell.page->v, (h * kPageCells + cell.slot) * args.head_dim + d, args.v[src]);
      }
    }
  }
}

}  // namespace fathom::kernels::reference
