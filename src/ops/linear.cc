// Packing a matrix for the kernel that serves it, and running a sublayer's products as one parallel region.
// Next in the flow: include/fathom/ops/attention.h.
#include "fathom/ops/linear.h"

#include <algorithm>
#include <limits>
#include <string>

namespace fathom {
namespace {

constexpr size_t kSlabBytes = size_t{8} << 20;  // packed between two calls of `progress`

const LinearKernel* find_kernel(const MatrixDesc& matrix, std::span<const KernelTable* const> tables, Numerics numerics,
                                size_t* bytes) {
  for (const KernelTable* table : tables) {
    const LinearList& list = table->linear[static_cast<int>(numerics)];
    for (int32_t i = 0; i < list.n; ++i) {
      *bytes = list.kernels[i].packed_bytes(matrix);
      if (*bytes != 0) return &list.kernels[i];
    }
  }
  return nullptr;
}

std::string shape_text(const Tensor& w) {
  return "tensor " + w.name + " (" + std::string(info(w.type).name) + ", " + std::to_string(w.rows) + " x " +
         std::to_string(w.cols) + ")";
}

// ---- the parts of a region ----------------------------------------------------------------------------------------

// A part is some panels for some rows. It should be long beside the cost of taking it (about 0.1 us), of gathering its
// activations (about one panel's products) and of reading its weights, and short beside the region, so that threads end
// together. Its time is told from the bytes it reads or the products it makes.
constexpr double kLongestPartUs = 200, kShortestPartUs = 3;
constexpr double kBytesPerUs = 12e3, kProductsPerUs = 200e3;  // of one thread, roughly; only the split depends on them
constexpr int kPartsPerThread = 8;
constexpr int64_t kPartRows = 64;  // rows of one part; fewer would read the weights too often
constexpr size_t kMaxJobs = 16;

double panel_us(const LinearJob& job, int64_t rows) {
  const Linear& w = *job.weight;
  const double bytes = static_cast<double>(w.packed_bytes) / static_cast<double>(w.panels());
  const double products = static_cast<double>(rows * w.kernel->panel_rows * w.matrix.cols);
  return std::max(bytes / kBytesPerUs, products / kProductsPerUs);
}

struct Split {
  const LinearJob* job;
  int64_t panels, rows;            // of one part; the last may have fewer
  int64_t panel_parts, row_parts;  // part i: rows i / panel_parts, panels i % panel_parts
  int64_t parts() const { return panel_parts * row_parts; }
};

int64_t pieces(int64_t all, int64_t each) { return (all + each - 1) / each; }

Split split(const LinearJob& job, double part_us, int threads) {
  const int64_t panels = job.weight->panels();
  const int64_t rows = threads == 1 || job.n < 2 * kPartRows ? job.n : kPartRows;
  const auto fit = std::max<int64_t>(1, static_cast<int64_t>(part_us / panel_us(job, rows)));
  const int64_t each = threads == 1 ? panels : pieces(panels, pieces(panels, fit));
  return {&job, each, rows, pieces(panels, each), pieces(job.n, rows)};
}

void run_part(const Activations& src, const Split& split, int64_t i) {
  const LinearJob& job = *split.job;
  const Linear& w = *job.weight;
  const int64_t row = i / split.panel_parts * split.rows, panel = i % split.panel_parts * split.panels;
  LinearArgs args{w.matrix, w.packed, nullptr, {}, std::min(split.rows, job.n - row), w.bias, nullptr, job.dst_stride};
  args.dst = job.dst + row * job.dst_stride;
  if (w.kernel->activation == Activation::f32) {
    args.src = src.f32 + row * w.matrix.cols;
  } else {
    const int64_t first = row * src.quant.cols;
    args.src_quant = {src.quant.values + first, src.quant.scales + first / kQuantBlock,
                      src.quant.sums + first / kSumBlock, src.quant.cols,
                      src.quant.low != nullptr ? src.quant.low + first : nullptr};
  }
  w.kernel->run(args, panel, std::min(w.panels(), panel + split.panels));
}

void run_group(ThreadPool& pool, const Activations& src, std::span<const LinearJob> jobs) {
  double total_us = 0;
  for (const LinearJob& job : jobs) {
    if (job.n > 0) total_us += panel_us(job, job.n) * static_cast<double>(job.weight->panels());
  }
  const double part_us = std::clamp(total_us / (pool.threads() * kPartsPerThread), kShortestPartUs, kLongestPartUs);
  Split splits[kMaxJobs];
  int64_t parts = 0;
  size_t n = 0;
  for (const LinearJob& job : jobs) {
    if (job.n <= 0) continue;
    splits[n] = split(job, part_us, pool.threads());
    parts += splits[n++].parts();
  }
  pool.run(parts, [&](int64_t i) {
    const Split* split = splits;
    while (i >= split->parts()) i -= split++->parts();
    run_part(src, *split, i);
  });
}

}  // namespace

Result<Linear> plan_linear(const Tensor& weight, std::span<const KernelTable* const> tables, Numerics numerics) {
  Linear linear;
  linear.matrix = {weight.type, weight.rows, weight.cols};
  linear.kernel = find_kernel(linear.matrix, tables, numerics, &linear.packed_bytes);
  if (linear.kernel != nullptr) return linear;
  return Error{ErrorCode::unsupported,
               shape_text(weight) + ": no kernel multiplies it; columns must be whole blocks of " +
                   std::to_string(info(weight.type).block_elements) + ", else convert the tensor to another type"};
}

void pack_linear(Linear& linear, const Tensor& weight, std::byte* dst, ThreadPool& pool, PackProgress progress) {
  linear.packed = dst;
  const int64_t panels = linear.panels();
  const size_t panel_bytes = linear.packed_bytes / static_cast<size_t>(panels);
  const int64_t slab = std::max<int64_t>(pool.threads(), static_cast<int64_t>(kSlabBytes / panel_bytes));
  for (int64_t begin = 0; begin < panels; begin += slab) {
    const int64_t end = std::min(panels, begin + slab);
    const int64_t share = (end - begin + pool.threads() * 4 - 1) / (pool.threads() * 4);
    pool.run((end - begin + share - 1) / share, [&](int64_t i) {
      const int64_t first = begin + i * share;
      linear.kernel->pack(linear.matrix, weight.data, dst, first, std::min(end, first + share));
    });
    if (progress.rows_done != nullptr) {
      progress.rows_done(progress.context, std::min(weight.rows, end * linear.kernel->panel_rows));
    }
  }
}

void linear(ThreadPool& pool, const Activations& src, std::span<const LinearJob> jobs) noexcept {
  for (size_t i = 0; i < jobs.size(); i += kMaxJobs)
    run_group(pool, src, jobs.subspan(i, std::min(kMaxJobs, jobs.size() - i)));
}

}  // namespace fathom
