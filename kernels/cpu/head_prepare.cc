// The row's side of a screen: how far a logit can lie from what the high part says of it, as factors that meet norms
// and scales. Next in the flow: kernels/cpu/head.cc and kernels/cpu/head_vnni.cc, which add them up.
//
// With e = low - centre, the logit and the middle of the screen differ by sum scale e a over the inputs, and by the
// rounding of both sums. Inputs of a group are split in two: few with a large |a| (`far`), the others near.
//   near   |sum scale e a| <= |scale e| |a|, Cauchy-Schwarz: the group's norm times norms[g]
//   far    |sum scale e a| <= half_range sum |scale| |a|: |scale| times spread of the inputs that share it
// An input is far where that is the tighter of the two: with n near inputs, |e| about `deviation` and `root` their root
// mean square, moving |a| costs half_range |a| and saves deviation sqrt(n) a^2 / (2 sqrt(n) root). The final norm's few
// large weights make 5 to 10 inputs hold half of a state's energy: far inputs cut survivors to a third (gemma3-270m).
// spread also pays for rounding: docs/numerics.md, The screened head.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "kernels/cpu/head_pack.h"

namespace fathom::kernels {
namespace {

constexpr double kU = 0x1p-24;
constexpr int kRounds = 3;  // of finding far inputs: each lowers the bar

/// Magnitudes and scales of the blocks of one group.
struct Group {
  const int32_t* magnitude;  // [blocks, 32]
  const float* scales;       // [blocks]
  int64_t blocks;

  int64_t inputs() const { return blocks * kQuantBlock; }
  /// Largest magnitude of a near input of block b.
  double limit(int64_t b, double bar) const { return bar / std::abs(scales[b]); }
};

/// What far inputs leave.
struct Near {
  double energy = 0;  // sum of squares
  int64_t n = 0;
};

Near near_inputs(const Group& group, double bar) {
  Near near;
  for (int64_t b = 0; b < group.blocks; ++b) {
    const double limit = group.limit(b, bar);
    const auto most = static_cast<int32_t>(std::min<double>(limit, kMaxQ12));  // 0 scale: infinity, all are near
    int64_t squares = 0;
    for (int i = 0; i < kQuantBlock; ++i) {
      const int32_t a = group.magnitude[b * kQuantBlock + i];
      const bool is_near = a <= most;
      squares += is_near ? a * a : 0;
      near.n += is_near;
    }
    near.energy += static_cast<double>(group.scales[b]) * group.scales[b] * static_cast<double>(squares);
  }
  return near;
}

/// The size of an activation from which an input is far.
double find_bar(const Group& group, const SplitFormat& f) {
  const double levels = 1 << f.low_bits;
  const double deviation = std::sqrt((levels * levels - 1) / 12);  // of a low part whose values are equally likely
  double bar = HUGE_VAL;
  for (int round = 0; round < kRounds; ++round) {
    const Near near = near_inputs(group, bar);
    if (near.n == 0 || near.energy == 0) break;
    bar = 2 * f.half_range / deviation * std::sqrt(near.energy / static_cast<double>(near.n));
  }
  return bar;
}

}  // namespace

template <DType type>
int64_t prepared_floats(const MatrixDesc& m) noexcept {
  return ScreenRow::floats<type>(m.cols);
}

template <DType type>
bool prepare_screen(const MatrixDesc& m, const QuantRows& src, int64_t row, float* dst) noexcept {
  constexpr SplitFormat f = kSplitFormat<type>;
  const SplitLayout<type> layout(m);
  const float* scales = src.scales + row * (src.cols / kQuantBlock);
  std::fill_n(dst, ScreenRow::floats<type>(m.cols), std::numeric_limits<float>::infinity());
  for (int64_t b = 0; b < layout.blocks; ++b) {
    if (!std::isfinite(scales[b])) return false;
  }
  std::fill_n(dst, kMaxGroups, 0.0f);
  int32_t magnitude[kMaxScreenCols];
  for (int64_t i = 0; i < m.cols; ++i) {
    const int64_t at = row * src.cols + i;
    magnitude[i] = std::abs(src.low != nullptr ? 16 * src.values[at] + src.low[at] : src.values[at]);
  }
  const int64_t shares = m.cols / f.scale_inputs;
  const double up = 1 + static_cast<double>(shares + 16) * kU;  // a radius is a sum of so many terms, each rounded
  const double rounding = static_cast<double>(2 * (layout.blocks + 3) + 8) * kU * f.largest_code;
  for (int64_t g = 0; g < layout.groups; ++g) {
    const int64_t first = g * layout.group_blocks;
    const Group group{magnitude + first * kQuantBlock, scales + first,
                      std::min(layout.group_blocks, layout.blocks - first)};
    const double bar = find_bar(group, f);
    dst[g] = static_cast<float>(up * std::sqrt(near_inputs(group, bar).energy));
    for (int64_t i = 0; i < group.inputs(); i += f.scale_inputs) {
      const int64_t b = i / kQuantBlock;
      const auto most = static_cast<int32_t>(std::min<double>(group.limit(b, bar), kMaxQ12));
      int64_t far = 0, all = 0;
      for (int64_t j = i; j < i + f.scale_inputs; ++j) {
        all += group.magnitude[j];
        far += group.magnitude[j] <= most ? 0 : group.magnitude[j];
      }
      const double size = f.half_range * static_cast<double>(far) + rounding * static_cast<double>(all);
      dst[kMaxGroups + (first * kQuantBlock + i) / f.scale_inputs] =
          static_cast<float>(up * std::abs(group.scales[b]) * size);
    }
  }
  return true;
}

#define FATHOM_PREPARE(type)                                          \
  template int64_t prepared_floats<type>(const MatrixDesc&) noexcept; \
  template bool prepare_screen<type>(const MatrixDesc&, const QuantRows&, int64_t, float*) noexcept
FATHOM_PREPARE(DType::q8_0);
FATHOM_PREPARE(DType::q6_k);
#undef FATHOM_PREPARE

}  // namespace fathom::kernels
