// What products read: rows quantised in blocks or rounded to bf16, for every SIMD target, the same bits on each.
// Next in the flow: kernels/cpu/attention.cc.
#include "kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantize.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cfloat>
#include <cstring>
#include <limits>

#include "fathom/ops/kernel_table.h"
#include "kernels/cpu/vector-inl.h"
#include "kernels/ref/half.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

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

/// As kernels/ref/half.h rounds.
HWY_INLINE void round_run(const float* src, int64_t n, uint16_t* dst) {
  const hn::Rebind<uint16_t, Lanes> halves;
  const hn::RebindToUnsigned<Lanes> bits;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Vec x = hn::LoadU(kLanes, src + i);
    const auto b = hn::BitCast(bits, x), odd = hn::And(hn::ShiftRight<16>(b), hn::Set(bits, 1));
    const auto nearest = hn::ShiftRight<16>(hn::Add(hn::Add(b, hn::Set(bits, 0x7FFF)), odd));
    const auto nan = hn::Or(hn::ShiftRight<16>(b), hn::Set(bits, 0x40));
    const auto is_nan = hn::RebindMask(bits, hn::IsNaN(x));
    const hn::RebindToSigned<Lanes> ints;
    hn::StoreU(hn::DemoteTo(halves, hn::BitCast(ints, hn::IfThenElse(is_nan, nan, nearest))), halves, dst + i);
  }
  for (; i < n; ++i) dst[i] = float_to_bfloat16(src[i]);
}

void round(const RoundArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t i = begin; i < end; ++i) {
    uint16_t* dst = args.dst + i * args.dst_cols;
    round_run(args.src + i * args.src_cols, args.src_cols, dst);
    std::memset(dst + args.src_cols, 0, static_cast<size_t>(args.dst_cols - args.src_cols) * sizeof(uint16_t));
  }
}

}  // namespace

/// Sets quantize and round; declared and called by tables.cc.
void fill_quantize_kernels(KernelTable& table) {
  table.quantize = {"cpu/quantize", quantize};
  table.round = {"cpu/round", round};
}

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
