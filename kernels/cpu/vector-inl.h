// What row kernels and attention share on every SIMD target: tails, 16-bit loads, sums in a fixed order, exp.
// Next in the flow: kernels/cpu/rowwise.cc, kernels/cpu/attention.cc.
// Included once for each target, after targets.h and foreach_target.h.
#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include "kernels/ref/half.h"

// The guard flips with HWY_TARGET_TOGGLE, so that every target gets its copy.
#if defined(FATHOM_KERNELS_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FATHOM_KERNELS_CPU_VECTOR_INL_H_
#undef FATHOM_KERNELS_CPU_VECTOR_INL_H_
#else
#define FATHOM_KERNELS_CPU_VECTOR_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Lanes = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Lanes>;
inline constexpr Lanes kLanes{};
inline constexpr int64_t kWidth = hn::MaxLanes(Lanes());

/// Whether the target's own halves can be used: Highway 1.0.3 emulates them with truncation, and without NaN.
#undef FATHOM_VECTOR_HALVES
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
#define FATHOM_VECTOR_HALVES 0
#else
#define FATHOM_VECTOR_HALVES 1
#endif

/// Up to kWidth numbers; lanes beyond `n` hold `rest`. Reads nothing past src + n.
HWY_INLINE Vec load_tail(const float* src, int64_t n, float rest = 0.0f) {
  HWY_ALIGN float lanes[kWidth];
  for (int64_t i = 0; i < kWidth; ++i) lanes[i] = i < n ? src[i] : rest;
  return hn::Load(kLanes, lanes);
}

HWY_INLINE void store_tail(Vec v, float* dst, int64_t n) {
  HWY_ALIGN float lanes[kWidth];
  hn::Store(v, kLanes, lanes);
  for (int64_t i = 0; i < n; ++i) dst[i] = lanes[i];
}

/// kWidth cells of a cache: f32, f16 or bf16.
HWY_INLINE Vec load_cells(const float* src) { return hn::LoadU(kLanes, src); }
HWY_INLINE Vec load_cells(const uint16_t* src) {
#if FATHOM_VECTOR_HALVES
  const hn::Rebind<hwy::float16_t, Lanes> halves;
  return hn::PromoteTo(kLanes, hn::LoadU(halves, reinterpret_cast<const hwy::float16_t*>(src)));
#else
  HWY_ALIGN float lanes[kWidth];
  for (int64_t i = 0; i < kWidth; ++i) lanes[i] = half_to_float(src[i]);
  return hn::Load(kLanes, lanes);
#endif
}

HWY_INLINE Vec load_cells(const BFloat16* src) {
  const hn::RebindToSigned<Lanes> ints;
  const hn::Rebind<uint16_t, Lanes> halves;
  const auto bits = hn::LoadU(halves, reinterpret_cast<const uint16_t*>(src));
  return hn::BitCast(kLanes, hn::ShiftLeft<16>(hn::PromoteTo(ints, bits)));
}

/// The sum of all lanes, in the target's fixed order.
HWY_INLINE float sum_lanes(Vec v) { return hn::GetLane(hn::SumOfLanes(kLanes, v)); }
HWY_INLINE float max_lanes(Vec v) {
#if HWY_TARGET == HWY_EMU128  // whose own one starts at the lowest finite number
  HWY_ALIGN float lanes[kWidth];
  hn::Store(v, kLanes, lanes);
  float most = lanes[0];
  for (int64_t i = 1; i < kWidth; ++i) most = HWY_MAX(most, lanes[i]);
  return most;
#else
  return hn::GetLane(hn::MaxOfLanes(kLanes, v));
#endif
}

/// exp(x) for x <= 0; 0 below -87.33 (results under 2^-126), 1 for 0, NaN for NaN.
///   error    below 2 ulp (0.96 measured): x - n ln 2 in two parts, a polynomial of degree 6 on |r| <= ln 2 / 2
///   source   Cephes expf (Moshier 1984)
HWY_INLINE Vec exp_of_negative(Vec x) {
  const Vec to_integer = hn::Set(kLanes, 0x1.8p23f);  // its last bit is worth 1: adding it rounds half even
  const Vec n = hn::Add(hn::Mul(x, hn::Set(kLanes, 1.44269504f)), to_integer), whole = hn::Sub(n, to_integer);
  Vec r = hn::NegMulAdd(whole, hn::Set(kLanes, 0.693359375f), x);
  r = hn::NegMulAdd(whole, hn::Set(kLanes, -2.12194440e-4f), r);
  Vec p = hn::MulAdd(hn::Set(kLanes, 1.9875691500e-4f), r, hn::Set(kLanes, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(kLanes, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(kLanes, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(kLanes, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(kLanes, 5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(kLanes, 1.0f));
  const hn::RebindToSigned<Lanes> ints;  // the shift leaves n alone of what lies below the exponent
  const auto power = hn::Add(hn::ShiftLeft<23>(hn::BitCast(ints, n)), hn::Set(ints, 127 << 23));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(kLanes, -87.33f)), hn::Mul(p, hn::BitCast(kLanes, power)));
}

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // FATHOM_KERNELS_CPU_VECTOR_INL_H_
