// Products of bf16 with AMX: up to 32 rows and two panels a step, four tiles of sums in the processor's tile registers.
// Rows of activations are tiles as they lie, 32 inputs wide; a panel is a run of tiles of 16 pairs of inputs and 16
// outputs (pack_pairs). Next in the flow: kernels/cpu/tables.cc, which offers it where the system lets a process use
// tiles.
//
// Order of sums, for one output and one row: acc starts at the bias; for each block of 32 inputs the 16 products of
// even inputs are one chain of fused steps, those of odd ones another, and acc takes the two chains' sum. Numbers below
// the smallest normal one count as zero, as these instructions do. Rows and panels that share a step change no bit.
// Source: Intel SDM, TDPBF16PS.
#include "kernels/cpu/amx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/linear_tile.h"

namespace fathom::kernels::amx {
namespace {

constexpr int kRows = 16;                         // of a tile
constexpr int64_t kInputs = 32;                   // of a tile of activations or weights
constexpr int64_t kTile = 16 * 64;                // bytes of a tile of weights
constexpr int kSums = 0, kSrc = 4, kWeights = 6;  // where tiles are: [2, 2] sums, 2 of activations, 2 of weights

/// Rows of a step in two tiles, as equal as can be; the second may have none.
struct Halves {
  int first = 0, second = 0;
  explicit Halves(int64_t rows)
      : first(static_cast<int>(rows > kRows ? (rows + 1) / 2 : rows)), second(static_cast<int>(rows) - first) {}
  bool operator==(const Halves&) const = default;
};

TileShapes shapes_of(const Halves& halves) {
  TileShapes shapes;
  for (int i = 0; i < 8; ++i) shapes.set(i, kRows, 64);
  for (int i : {kSums, kSums + 1, kSrc}) shapes.set(i, halves.first, 64);
  const int second = halves.second > 0 ? halves.second : halves.first;  // a shape without rows is none
  for (int i : {kSums + 2, kSums + 3, kSrc + 1}) shapes.set(i, second, 64);
  return shapes;
}

}  // namespace
}  // namespace fathom::kernels::amx

FATHOM_TARGET_BEGIN("amx-tile,amx-bf16")

namespace fathom::kernels::amx {
namespace {

/// The sums of a half of the rows and a panel.
template <int half, int panel>
FATHOM_INLINE void add_products() {
  asm volatile("tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2" ::"i"(kWeights + panel), "i"(kSrc + half),
               "i"(kSums + 2 * half + panel));
}

/// What one step works on; strides and distances in bytes.
struct Step {
  const uint8_t *src, *weights;
  int64_t src_stride, panel, blocks;
  const float* bias;  // [panels, 16]
  float* dst;         // [rows, dst_stride]
  int64_t dst_stride;
};

template <int halves, int panels>
void run_step(const Step step, int first_rows) {
  load<kSums>(step.bias, 0);
  if constexpr (panels == 2) load<kSums + 1>(step.bias + kPanelRows, 0);
  if constexpr (halves == 2) load<kSums + 2>(step.bias, 0);
  if constexpr (halves == 2 && panels == 2) load<kSums + 3>(step.bias + kPanelRows, 0);
  const uint8_t *src = step.src, *second_src = src + first_rows * step.src_stride;
  const uint8_t *weights = step.weights, *second_weights = weights + step.panel;
  const int64_t src_stride = step.src_stride;
  for (int64_t at = 0, end = step.blocks * kTile; at < end;
       at += kTile, src += 2 * kInputs, second_src += 2 * kInputs) {
    load<kWeights>(weights + at, 64);
    load<kSrc>(src, src_stride);
    add_products<0, 0>();
    if constexpr (panels == 2) {
      load<kWeights + 1>(second_weights + at, 64);
      add_products<0, 1>();
    }
    if constexpr (halves == 2) {
      load<kSrc + 1>(second_src, src_stride);
      add_products<1, 0>();
      if constexpr (panels == 2) add_products<1, 1>();
    }
  }
  float* const second = step.dst + first_rows * step.dst_stride;
  const int64_t stride = step.dst_stride * static_cast<int64_t>(sizeof(float));
  store<kSums>(step.dst, stride);
  if constexpr (panels == 2) store<kSums + 1>(step.dst + kPanelRows, stride);
  if constexpr (halves == 2) store<kSums + 2>(second, stride);
  if constexpr (halves == 2 && panels == 2) store<kSums + 3>(second + kPanelRows, stride);
}

}  // namespace
}  // namespace fathom::kernels::amx

FATHOM_TARGET_END

namespace fathom::kernels::amx {
namespace {

/// Rows [row, row + rows) of panels [p, p + panels).
void multiply(const LinearArgs& args, int64_t row, const Halves& halves, int64_t p, int64_t panels) {
  const int64_t o = p * kPanelRows, n = std::min(panels * kPanelRows, args.matrix.rows - o);
  const int64_t rows = halves.first + halves.second, stride = padded_cols(args.matrix.cols) * 2;
  const auto panel = static_cast<int64_t>(paired_panel_bytes(args.matrix.cols));
  alignas(64) float bias[2 * kPanelRows] = {}, edge[2 * kRows][2 * kPanelRows];
  if (args.bias != nullptr) std::memcpy(bias, args.bias + o, static_cast<size_t>(n) * sizeof(float));
  const bool whole = n == panels * kPanelRows;
  float* dst = args.dst + row * args.dst_stride + o;
  const Step step{.src = reinterpret_cast<const uint8_t*>(args.src_bf16) + row * stride,
                  .weights = static_cast<const uint8_t*>(args.packed) + p * panel,
                  .src_stride = stride,
                  .panel = panel,
                  .blocks = padded_cols(args.matrix.cols) / kInputs,
                  .bias = bias,
                  .dst = whole ? dst : edge[0],
                  .dst_stride = whole ? args.dst_stride : 2 * kPanelRows};
  if (halves.second > 0) {
    panels == 2 ? run_step<2, 2>(step, halves.first) : run_step<2, 1>(step, halves.first);
  } else {
    panels == 2 ? run_step<1, 2>(step, halves.first) : run_step<1, 1>(step, halves.first);
  }
  for (int64_t r = 0; !whole && r < rows; ++r) {
    std::memcpy(dst + r * args.dst_stride, edge[r], static_cast<size_t>(n) * sizeof(float));
  }
}

void run(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  const auto fit = static_cast<int64_t>(kGroupBytes / paired_panel_bytes(args.matrix.cols));
  const int64_t group = std::max<int64_t>(1, fit / 2) * 2;
  Halves configured(0);
  for (; begin < end; begin += group) {
    const int64_t last = std::min(end, begin + group);
    for (int64_t row = 0, steps = (args.n + 2 * kRows - 1) / (2 * kRows); steps > 0; --steps) {
      const Halves halves((args.n - row + steps - 1) / steps);
      if (halves != configured) configure(shapes_of(halves));
      configured = halves;
      for (int64_t p = begin; p < last; p += 2) multiply(args, row, halves, p, std::min<int64_t>(2, last - p));
      row += halves.first + halves.second;
    }
  }
  release();
}

}  // namespace

bool usable() noexcept {
  constexpr unsigned kNeeded = 1u << 22 | 1u << 24 | 1u << 25;  // of leaf 7, EDX
  constexpr int kAskPermission = 0x1023, kTileData = 18;        // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kNeeded) != kNeeded) return false;
  return syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
}

LinearKernel bf16_kernel() noexcept { return {"cpu/amx", Activation::bf16, kPanelRows, paired_bytes, pack_pairs, run}; }

}  // namespace fathom::kernels::amx
#endif  // __x86_64__
