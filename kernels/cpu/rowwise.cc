// Row kernels for every SIMD target: each row alone, sums in an order that depends on the row's length only.
// Next in the flow: kernels/cpu/attention.cc. Error bounds: docs/numerics.md.
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

void norm(const NormArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    const float* src = args.src + at(args.index, i) * args.cols;
    const float mean = dot(src, src, args.cols) / static_cast<float>(args.cols);
    const Vec inverse = hn::Set(kLanes, 1.0f / std::sqrt(mean + args.eps));
    map(src, args.weight, args.cols, args.dst + i * args.cols,
        [&](Vec x, Vec w) HWY_ATTR { return hn::Mul(hn::Mul(x, inverse), w); });
  }
}

/// One block of 32: values in one plane of bytes or two, scale and the two sums.
template <bool kLow>
HWY_INLINE void quantize_block(const float* src, int8_t* values, int8_t* low, float* scale, int32_t* sums) {
  const hn::Rebind<int8_t, Lanes> bytes;
  const hn::RebindToSigned<Lanes> ints;
  auto most = hn::Zero(ints);  // magnitudes compare as integers: NaN above infinity above numbers
  for (int64_t i = 0; i < kQuantBlock; i += kWidth) {
    most = hn::Max(most, hn::BitCast(ints, hn::Abs(hn::LoadU(kLanes, src + i))));
  }
  const float largest = hn::GetLane(hn::BitCast(kLanes, hn::MaxOfLanes(ints, most)));
  const bool finite = largest < kInfinity;
  constexpr auto kMost = static_cast<float>(kLow ? kMaxQ12 : kMaxQ8);
  const float ratio = largest / kMost;
  const bool zero = !finite || ratio < FLT_MIN;
  *scale = finite ? (zero ? 0.0f : ratio) : kNan;
  if (zero) {
    std::memset(values, 0, kQuantBlock);
    if constexpr (kLow) std::memset(low, 0, kQuantBlock);
    sums[0] = sums[1] = 0;
    return;
  }
  const Vec factor = hn::Set(kLanes, kMost / largest);
  for (int64_t half = 0; half < 2; ++half) {
    auto sum = hn::Zero(ints);
    for (int64_t i = half * kSumBlock; i < (half + 1) * kSumBlock; i += kWidth) {
      const auto q = hn::NearestInt(hn::Mul(hn::LoadU(kLanes, src + i), factor));
      if constexpr (kLow) {
        const auto high = hn::ShiftRight<4>(hn::Add(q, hn::Set(ints, 8)));
        hn::StoreU(hn::DemoteTo(bytes, high), bytes, values + i);
        hn::StoreU(hn::DemoteTo(bytes, hn::Sub(q, hn::ShiftLeft<4>(high))), bytes, low + i);
      } else {
        hn::StoreU(hn::DemoteTo(bytes, q), bytes, values + i);
      }
      sum = hn::Add(sum, q);
    }
    sums[half] = hn::GetLane(hn::SumOfLanes(ints, sum));
  }
}

/// Asks for a line that will be written: the other threads still share it from the last product they read it for, and
/// stores alone take it over one line after the other (65 ns a block with two threads, 20 with one).
constexpr int64_t kOwnAhead = 512;  // values
HWY_INLINE void own(const void* p) {
#if HWY_ARCH_X86
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(p)));  // a no-op before Broadwell
#else
  __builtin_prefetch(p, 1);
#endif
}

template <bool kLow>
void quantize_rows(const QuantizeArgs& args, int64_t begin, int64_t end) {
  const QuantRows& dst = args.dst;
  for (int64_t r = begin; r < end; ++r) {
    const float* src = args.src + r * args.src_cols;
    int8_t* values = dst.values + r * dst.cols;
    float* scales = dst.scales + r * (dst.cols / kQuantBlock);
    int32_t* sums = dst.sums + r * (dst.cols / kSumBlock);
    const auto block = [&](const float* from, int64_t c) HWY_ATTR {
      own(values + c + kOwnAhead);
      if constexpr (kLow) own(dst.low + r * dst.cols + c + kOwnAhead);
      own(scales + (c + kOwnAhead) / kQuantBlock);
      own(sums + (c + kOwnAhead) / kSumBlock);
      quantize_block<kLow>(from, values + c, kLow ? dst.low + r * dst.cols + c : nullptr, scales + c / kQuantBlock,
                           sums + c / kSumBlock);
    };
    int64_t c = 0;
    for (; c + kQuantBlock <= args.src_cols; c += kQuantBlock) block(src + c, c);
    for (; c < dst.cols; c += kQuantBlock) {
      float padded[kQuantBlock] = {};
      if (c < args.src_cols) std::memcpy(padded, src + c, static_cast<size_t>(args.src_cols - c) * sizeof(float));
      block(padded, c);
    }
  }
}

void quantize(const QuantizeArgs& args, int64_t begin, int64_t end) noexcept {
  args.dst.low != nullptr ? quantize_rows<true>(args, begin, end) : quantize_rows<false>(args, begin, end);
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

void gated(const GatedArgs& args, int64_t begin, int64_t end) noexcept {
  const int64_t offset = begin * args.cols, n = (end - begin) * args.cols;
  const float *a = args.a + offset, *b = args.b + offset;
  if (args.kind == Gate::silu) {
    map(a, b, n, args.dst + offset, [](Vec x, Vec y) HWY_ATTR { return hn::Mul(silu(x), y); });
  } else {
    map(a, b, n, args.dst + offset, [](Vec x, Vec y) HWY_ATTR { return hn::Mul(gelu(x), y); });
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
  table.quantize = {"cpu/quantize", quantize};
  table.gated = {"cpu/gated", gated};
  table.add = {"cpu/add", add};
  table.rope = {"cpu/rope", rope};
  table.similarity = {"cpu/similarity", similarity};
  table.logit_stats = {"cpu/logit_stats", logit_stats};
  table.kv_write = {"cpu/kv_write", kv_write};
}

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
