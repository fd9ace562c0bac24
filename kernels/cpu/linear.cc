// Products against panels for every Highway target: quantised types by pairs of bytes in 16 bits, plain types by fused
// multiply-adds. Next in the flow: kernels/cpu/linear_vnni.cc, the same sums with byte dot products.
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/linear-inl.h"
#include "kernels/cpu/linear_scalar.h"

HWY_BEFORE_NAMESPACE();
namespace fathom::kernels::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

using Runs = scalar::Runs;

#else

// ---- plain types ----------------------------------------------------------------------------------------------------

template <DType type>
HWY_INLINE VecF32 load_weights(const uint8_t* src, int p) {
  if constexpr (type == DType::f32) {
    return hn::Load(F32(), reinterpret_cast<const float*>(src) + p * kLanes);
  } else if constexpr (type == DType::f16) {
    return load_half(src, p);
  } else {
    const hn::Rebind<uint16_t, I32> d16;
    const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(src) + p * kLanes);
    return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(I32(), bits)));
  }
}

template <DType type, int rows>
void plain_tile(const LinearArgs& args, const TileRange& range) {
  constexpr int64_t kBytes = static_cast<int64_t>(kPanelRows * info(type).block_bytes);
  const F32 df;
  const int64_t cols = args.matrix.cols;
  const float* src = args.src + range.row * cols;
  for (int64_t p = range.begin; p < range.end; ++p) {
    const uint8_t* panel =
        static_cast<const uint8_t*>(args.packed) + static_cast<size_t>(p) * float_panel_bytes(type, cols);
    VecF32 acc[rows][kParts];
    for (auto& row_acc : acc) {
      for (auto& v : row_acc) v = hn::Zero(df);
    }
    for (int64_t k = 0; k < cols; ++k) {
      prefetch(panel + k * kBytes, kBytes);
      VecF32 w[kParts];
      for (int i = 0; i < kParts; ++i) w[i] = load_weights<type>(panel + k * kBytes, i);
      for (int r = 0; r < rows; ++r) {
        const VecF32 a = hn::Set(df, src[r * cols + k]);
        for (int i = 0; i < kParts; ++i) acc[r][i] = hn::MulAdd(w[i], a, acc[r][i]);
      }
    }
    alignas(64) float sums[kPanelRows];
    for (int r = 0; r < rows; ++r) {
      for (int i = 0; i < kParts; ++i) hn::Store(acc[r][i], df, sums + i * kLanes);
      store_outputs(args, range.row + r, p, true, sums);
    }
  }
}

template <DType type>
void run_plain(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  constexpr TileFn kTiles[8] = {plain_tile<type, 1>, plain_tile<type, 2>, plain_tile<type, 3>, plain_tile<type, 4>,
                                plain_tile<type, 5>, plain_tile<type, 6>, plain_tile<type, 7>, plain_tile<type, 8>};
  run_tiles(args, nullptr, kTiles, 1, float_panel_bytes(type, args.matrix.cols), 1, 1, begin,
            end);  // one segment: all inputs
}

struct Runs {
  template <DType type, int planes>
  static constexpr auto quantised = run_panels<type, planes, Interleaved<type> >;
  template <DType type>
  static constexpr auto plain = run_plain<type>;
};

#endif  // scalar or vectors

LinearLists linear_lists(const char* target) { return LinearLists(LinearKernels<Runs>{target}); }

}  // namespace fathom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
