// Row kernels for every SIMD target: each row alone, sums in an order that depends on the row's length only.
// Next in the flow: kernels/cpu/quantize.cc. Error bounds: docs/numerics.md.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rowwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cfloat>
#include <cmath>
#include <limits>

#include "fathom/ops/kernel_table.h"
#include "kernels/cpu/vector-inl.h"
#include "kernels/ref/dequant.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

HWY_INLINE int64_t at(const int32_t* index, int64_t i) { return index != nullptr ? index[i] : i; }

/// Sum of a[i] b[i]: four vectors of sums while they last, then one; the rest of a row in a vector filled with zeros.
HWY_INLINE float dot(const float* a, const float* b, int64_t n) {
  Vec s0 = hn::Zero(kLanes), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    s0 = hn::MulAdd(hn::LoadU(kLanes, a + i), hn::LoadU(kLanes, b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(kLanes, a + i + kWidth), hn::LoadU(kLanes, b + i + kWidth), s1);
    s2 = hn::MulAdd(hn::LoadU(kLanes, a + i + 2 * kWidth), hn::LoadU(kLanes, b + i + 2 * kWidth), s2);
    s3 = hn::MulAdd(hn::LoadU(kLanes, a + i + 3 * kWidth), hn::LoadU(kLanes, b + i + 3 * kWidth), s3);
  }
  for (; i < n; i += kWidth) s0 = hn::MulAdd(load_tail(a + i, n - i), load_tail(b + i, n - i), s0);
  return sum_lanes(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

/// dst[i] = f(a[i], b[i]) for i < n.
template <class F>
HWY_INLINE void map(const float* a, const float* b, int64_t n, float* dst, F f) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth)
    hn::StoreU(f(hn::LoadU(kLanes, a + i), hn::LoadU(kLanes, b + i)), kLanes, dst + i);
  if (i < n) store_tail(f(load_tail(a + i, n - i), load_tail(b + i, n - i)), dst + i, n - i);
}

void embed(const EmbedArgs& args, int64_t begin, int64_t end) noexcept {
  const size_t bytes = row_bytes(args.type, static_cast<size_t>(args.cols));
  for (int64_t i = begin; i < end; ++i) {
    float* dst = args.dst + i * args.cols;
    dequantize_row(args.type, static_cast<const char*>(args.table) + static_cast<size_t>(args.ids[i]) * bytes, dst,
                   args.cols);
    const Vec scale = hn::Set(kLanes, args.scale);
    map(dst, dst, args.cols, dst, [&](Vec x, Vec) HWY_ATTR { return hn::Mul(x, scale); });
  }
}

/// Sum of f(a[i]), in the order of dot(); f of what pads a row does not count.
template <class F>
HWY_INLINE float sum_of(const float* a, int64_t n, F f) {
  Vec s0 = hn::Zero(kLanes), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    s0 = hn::Add(f(hn::LoadU(kLanes, a + i)), s0);
    s1 = hn::Add(f(hn::LoadU(kLanes, a + i + kWidth)), s1);
    s2 = hn::Add(f(hn::LoadU(kLanes, a + i + 2 * kWidth)), s2);
    s3 = hn::Add(f(hn::LoadU(kLanes, a + i + 3 * kWidth)), s3);
  }
  for (; i < n; i += kWidth) {
    const auto counts = hn::FirstN(kLanes, static_cast<size_t>(HWY_MIN(n - i, kWidth)));
    s0 = hn::Add(hn::IfThenElseZero(counts, f(load_tail(a + i, n - i))), s0);
  }
  return sum_lanes(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

/// dst = (src - centre) * inverse * weight, + bias where there is one.
HWY_INLINE void scale_row(const NormArgs& args, const float* src, float centre, float inverse, float* dst) {
  const Vec c = hn::Set(kLanes, centre), s = hn::Set(kLanes, inverse);
  const auto scaled = [&](Vec x, Vec w) HWY_ATTR { return hn::Mul(hn::Mul(hn::Sub(x, c), s), w); };
  map(src, args.weight, args.cols, dst, scaled);
  if (args.bias != nullptr) {
    map(dst, args.bias, args.cols, dst, [](Vec x, Vec b) HWY_ATTR { return hn::Add(x, b); });
  }
}

void norm(const NormArgs& args, int64_t begin, int64_t end) noexcept {
  const auto n = static_cast<float>(args.cols);
  for (int64_t i = begin; i < end; ++i) {
    const float* src = args.src + at(args.index, i) * args.cols;
    float centre = 0, square = 0;
    if (args.kind == NormKind::layer) {
      centre = sum_of(src, args.cols, [](Vec x) HWY_ATTR { return x; }) / n;
      const Vec c = hn::Set(kLanes, centre);
      square = sum_of(src, args.cols, [&](Vec x) HWY_ATTR { return hn::Mul(hn::Sub(x, c), hn::Sub(x, c)); });
    } else {
      square = dot(src, src, args.cols);
    }
    scale_row(args, src, centre, 1.0f / std::sqrt(square / n + args.eps), args.dst + i * args.cols);
  }
}

/// a / (1 + exp(-t)), without overflow: with e = exp(-|t|) it is a / (1 + e) or a e / (1 + e).
HWY_INLINE Vec times_sigmoid(Vec a, Vec t) {
  const Vec e = exp_of_negative(hn::Neg(hn::Abs(t))), one = hn::Set(kLanes, 1.0f);
  const Vec above = hn::IfThenElse(hn::Lt(t, hn::Zero(kLanes)), e, one);
  return hn::Mul(a, hn::Div(above, hn::Add(one, e)));
}

HWY_INLINE Vec silu(Vec a) { return times_sigmoid(a, a); }

/// 0.5 a (1 + tanh u) = a / (1 + exp(-2 u)), u = sqrt(2 / pi) (a + 0.044715 a^3).
HWY_INLINE Vec gelu(Vec a) {
  const Vec cubic = hn::MulAdd(hn::Mul(a, a), hn::Set(kLanes, 0.0713548162726f), hn::Set(kLanes, 1.5957691216057f));
  return times_sigmoid(a, hn::Mul(a, cubic));
}

/// a Phi(a). Source: Abramowitz and Stegun 7.1.26, within 1.5e-7 of erfc: 1 - Phi(|a|) = t p(t) exp(-a^2 / 2) / 2.
HWY_INLINE Vec gelu_erf(Vec a) {
  const auto c = [](float x) HWY_ATTR { return hn::Set(kLanes, x); };
  const Vec one = c(1.0f), size = hn::Abs(a);
  const Vec t = hn::Div(one, hn::MulAdd(size, c(0.3275911f * 0.70710678f), one));
  Vec p = hn::MulAdd(t, c(1.061405429f), c(-1.453152027f));
  p = hn::MulAdd(t, p, c(1.421413741f));
  p = hn::MulAdd(t, p, c(-0.284496736f));
  p = hn::MulAdd(t, p, c(0.254829592f));
  const Vec half_square = hn::Mul(hn::Mul(a, a), c(-0.5f));
  const Vec beyond = hn::Mul(hn::Mul(hn::Mul(t, p), c(0.5f)), exp_of_negative(half_square));
  return hn::Mul(a, hn::IfThenElse(hn::Lt(a, hn::Zero(kLanes)), beyond, hn::Sub(one, beyond)));
}

template <class F>
HWY_INLINE void gate_run(const float* a, const float* b, int64_t n, float* dst, F gate) {
  if (b != nullptr) {
    map(a, b, n, dst, [&](Vec x, Vec y) HWY_ATTR { return hn::Mul(gate(x), y); });
  } else {
    map(a, a, n, dst, [&](Vec x, Vec) HWY_ATTR { return gate(x); });
  }
}

void gated(const GatedArgs& args, int64_t begin, int64_t end) noexcept {
  const int64_t offset = begin * args.cols, n = (end - begin) * args.cols;
  const float *a = args.a + offset, *b = args.b != nullptr ? args.b + offset : nullptr;
  float* const dst = args.dst + offset;
  if (args.kind == Gate::silu) {
    gate_run(a, b, n, dst, [](Vec x) HWY_ATTR { return silu(x); });
  } else if (args.kind == Gate::gelu) {
    gate_run(a, b, n, dst, [](Vec x) HWY_ATTR { return gelu_erf(x); });
  } else {
    gate_run(a, b, n, dst, [](Vec x) HWY_ATTR { return gelu(x); });
  }
}

void add(const AddArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    float* x = args.x + at(args.index, i) * args.cols;
    map(x, args.y + i * args.cols, args.cols, x, [](Vec a, Vec b) HWY_ATTR { return hn::Add(a, b); });
  }
}

/// (a, b) turned by the angle of (c, s). Two products and a sum, unfused: the same bits on every target.
struct Turned {
  Vec a, b;
};
HWY_INLINE Turned turn(Vec a, Vec b, Vec c, Vec s) {
  return {hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), hn::Add(hn::Mul(a, s), hn::Mul(b, c))};
}

HWY_INLINE void turn_halves(float* x, int64_t pairs, const float* cos_sin) {
  int64_t p = 0;
  for (; p + kWidth <= pairs; p += kWidth) {
    Vec c, s;
    hn::LoadInterleaved2(kLanes, cos_sin + 2 * p, c, s);
    const Turned t = turn(hn::LoadU(kLanes, x + p), hn::LoadU(kLanes, x + pairs + p), c, s);
    hn::StoreU(t.a, kLanes, x + p);
    hn::StoreU(t.b, kLanes, x + pairs + p);
  }
  for (; p < pairs; ++p) {
    const float a = x[p], b = x[pairs + p], c = cos_sin[2 * p], s = cos_sin[2 * p + 1];
    x[p] = a * c - b * s;
    x[pairs + p] = a * s + b * c;
  }
}

HWY_INLINE void turn_adjacent(float* x, int64_t pairs, const float* cos_sin) {
  int64_t p = 0;
  for (; p + kWidth <= pairs; p += kWidth) {
    Vec a, b, c, s;
    hn::LoadInterleaved2(kLanes, cos_sin + 2 * p, c, s);
    hn::LoadInterleaved2(kLanes, x + 2 * p, a, b);
    const Turned t = turn(a, b, c, s);
    hn::StoreInterleaved2(t.a, t.b, kLanes, x + 2 * p);
  }
  for (; p < pairs; ++p) {
    const float a = x[2 * p], b = x[2 * p + 1], c = cos_sin[2 * p], s = cos_sin[2 * p + 1];
    x[2 * p] = a * c - b * s;
    x[2 * p + 1] = a * s + b * c;
  }
}

void rope(const RopeArgs& args, int64_t begin, int64_t end) noexcept {
  const int64_t pairs = args.rope_dim / 2;
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t h = 0; h < args.heads; ++h) {
      float* x = args.x + (i * args.heads + h) * args.head_dim;
      const float* cos_sin = args.cos_sin + i * pairs * 2;
      args.pairing == Pairing::halves ? turn_halves(x, pairs, cos_sin) : turn_adjacent(x, pairs, cos_sin);
    }
  }
}

void similarity(const SimilarityArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const float* a = args.a + at(args.index, i) * args.cols;
    const float* b = args.b + i * args.cols;
    const double norms = std::sqrt(static_cast<double>(dot(a, a, args.cols)) * dot(b, b, args.cols));
    args.dst[i] = norms == 0 ? 0.0f : static_cast<float>(dot(a, b, args.cols) / norms);
  }
}

void dots(const DotsArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const float* a = args.a + args.index[i] * args.cols;
    float* dst = args.dst + i * args.n_b;
    for (int64_t j = 0; j < args.n_b; ++j) dst[j] = dot(a, args.b + args.index_b[j] * args.cols, args.cols);
  }
}

/// The two largest numbers of a row and whether it holds a NaN.
struct Top2 {
  float max, second;
  bool nan;
};

HWY_INLINE Top2 top2(const float* x, int64_t n) {
  const Vec low = hn::Set(kLanes, -kInfinity);
  Vec max0 = low, max1 = low, second0 = low, second1 = low;
  auto number = hn::Eq(low, low);  // every lane true so far
  const auto meet = [&](Vec v, Vec& max, Vec& second) HWY_ATTR {
    const auto ordered = hn::Eq(v, v);
    number = hn::And(number, ordered);
    v = hn::IfThenElse(ordered, v, low);
    second = hn::Max(second, hn::Min(max, v));
    max = hn::Max(max, v);
  };
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    meet(hn::LoadU(kLanes, x + i), max0, second0);
    meet(hn::LoadU(kLanes, x + i + kWidth), max1, second1);
  }
  for (; i < n; i += kWidth) meet(load_tail(x + i, n - i, -kInfinity), max0, second0);
  second0 = hn::Max(hn::Max(second0, second1), hn::Min(max0, max1));
  max0 = hn::Max(max0, max1);
  const float max = max_lanes(max0);
  const auto is_max = hn::Eq(max0, hn::Set(kLanes, max));
  // Lanes other than the one that keeps the maximum offer their own maximum as the second.
  const float rest = max_lanes(hn::IfThenElse(is_max, low, max0));
  const float second = hn::CountTrue(kLanes, is_max) > 1 ? max : std::fmax(rest, max_lanes(second0));
  return {max, second, !hn::AllTrue(kLanes, number)};
}

/// The first index of `value`; 0 when there is none.
HWY_INLINE int32_t find(const float* x, int64_t n, float value) {
  const Vec wanted = hn::Set(kLanes, value);
  int64_t i = 0;
  while (i + kWidth <= n && hn::AllFalse(kLanes, hn::Eq(hn::LoadU(kLanes, x + i), wanted))) i += kWidth;
  for (; i < n; ++i) {
    if (x[i] == value) return static_cast<int32_t>(i);
  }
  return 0;
}

/// sum of exp(x - max), and of exp(x - max) (x - max): spans of 2048 in f32, spans in double.
struct Moments {
  double sum = 0, weighted = 0;
};

HWY_INLINE void add_span(const float* x, int64_t n, Vec max, Moments& m) {
  Vec sum0 = hn::Zero(kLanes), sum1 = sum0, weighted0 = sum0, weighted1 = sum0;
  const Vec lowest = hn::Set(kLanes, -FLT_MAX);  // -inf has weight 0: keep 0 * -inf away
  const auto meet = [&](Vec v, Vec& sum, Vec& weighted) HWY_ATTR {
    const Vec below = hn::Max(hn::Sub(v, max), lowest), weight = exp_of_negative(below);
    sum = hn::Add(sum, weight);
    weighted = hn::MulAdd(weight, below, weighted);
  };
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    meet(hn::LoadU(kLanes, x + i), sum0, weighted0);
    meet(hn::LoadU(kLanes, x + i + kWidth), sum1, weighted1);
  }
  for (; i < n; i += kWidth) meet(load_tail(x + i, n - i, -kInfinity), sum0, weighted0);
  m.sum += static_cast<double>(sum_lanes(hn::Add(sum0, sum1)));
  m.weighted += static_cast<double>(sum_lanes(hn::Add(weighted0, weighted1)));
}

void logit_stats(const LogitStatsArgs& args, int64_t begin, int64_t end) noexcept {
  constexpr int64_t kSpan = 2048;
  for (int64_t i = begin; i < end; ++i) {
    const float* x = args.logits + i * args.vocab;
    const Top2 top = top2(x, args.vocab);
    LogitStats& dst = args.dst[i];
    dst = {find(x, args.vocab, top.max), top.max, top.second, top.nan ? kNan : top.max, kNan};
    if (top.nan || !std::isfinite(top.max)) continue;
    Moments m;
    for (int64_t s = 0; s < args.vocab; s += kSpan) {
      add_span(x + s, HWY_MIN(kSpan, args.vocab - s), hn::Set(kLanes, top.max), m);
    }
    dst.log_sum = static_cast<float>(top.max + std::log(m.sum));
    dst.entropy = static_cast<float>(std::log(m.sum) - m.weighted / m.sum);
  }
}

/// x with magnitudes above `most` cut to it; NaN stays.
HWY_INLINE Vec cut(Vec x, float most) {
  const Vec limit = hn::Set(kLanes, most);
  return hn::IfThenElse(hn::Gt(hn::Abs(x), limit), hn::CopySignToAbs(limit, x), x);
}
HWY_INLINE float cut(float x, float most) { return x > most ? most : x < -most ? -most : x; }

/// Numbers as the cache stores them: f32, or f16 or bf16 with large magnitudes cut to the largest finite one.
HWY_INLINE void store_run(const float* src, float* dst, int64_t n) {
  std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(float));
}
HWY_INLINE void store_run(const float* src, uint16_t* dst, int64_t n) {
  int64_t i = 0;
#if FATHOM_VECTOR_HALVES
  const hn::Rebind<hwy::float16_t, Lanes> halves;
  for (; i + kWidth <= n; i += kWidth) {
    hn::StoreU(hn::DemoteTo(halves, cut(hn::LoadU(kLanes, src + i), kLargestHalf)), halves,
               reinterpret_cast<hwy::float16_t*>(dst + i));
  }
#endif
  for (; i < n; ++i) dst[i] = float_to_half(cut(src[i], kLargestHalf));
}
HWY_INLINE void store_run(const float* src, BFloat16* dst, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i].bits = float_to_bfloat16(cut(src[i], kLargestBFloat16));
}

template <class T>
HWY_INLINE void write_cell(const KvWriteArgs& args, int64_t i) {
  constexpr int64_t kRun = 256;
  const KvCell cell = args.cells[i];
  const int64_t dim = args.head_dim;
  for (int64_t h = 0; h < args.kv_heads; ++h) {
    const int64_t src = (i * args.kv_heads + h) * dim;
    store_run(args.v + src, static_cast<T*>(cell.page->v) + (h * kPageCells + cell.slot) * dim, dim);
    T* column = static_cast<T*>(cell.page->k) + h * dim * kPageCells + cell.slot;
    for (int64_t d = 0; d < dim; d += kRun) {
      T run[kRun];
      const int64_t n = HWY_MIN(kRun, dim - d);
      store_run(args.k + src + d, run, n);
      for (int64_t j = 0; j < n; ++j) column[(d + j) * kPageCells] = run[j];
    }
  }
}

void kv_write(const KvWriteArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    args.type == DType::f32   ? write_cell<float>(args, i)
    : args.type == DType::f16 ? write_cell<uint16_t>(args, i)
                              : write_cell<BFloat16>(args, i);
  }
}

}  // namespace

/// Sets every entry from embed to kv_write; declared and called by tables.cc.
void fill_row_kernels(KernelTable& table) {
  table.embed = {"cpu/embed", embed};
  table.norm = {"cpu/norm", norm};
  table.gated = {"cpu/gated", gated};
  table.add = {"cpu/add", add};
  table.rope = {"cpu/rope", rope};
  table.similarity = {"cpu/similarity", similarity};
  table.dots = {"cpu/dots", dots};
  table.logit_stats = {"cpu/logit_stats", logit_stats};
  table.kv_write = {"cpu/kv_write", kv_write};
}

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
