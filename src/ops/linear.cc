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
    const bool exact = numerics == Numerics::exact;
    const LinearKernel* list = exact ? table->linear_exact : table->linear;
    const int32_t n = exact ? table->n_linear_exact : table->n_linear;
    for (int32_t i = 0; i < n; ++i) {
      *bytes = list[i].packed_bytes(matrix);
      if (*bytes != 0) return &list[i];
    }
  }
  return nullptr;
}

std::string shape_text(const Tensor& w) {
  return "tensor " + w.name + " (" + std::string(info(w.type).name) + ", " + std::to_string(w.rows) + " x " +
         std::to_string(w.cols) + ")";
}

// ---- the parts of a region --------------------------------------------------------------------------------------------

// A part should be long beside the cost of taking it (about 0.1 us) and of gathering activations, and short beside the
// region, so that threads end together. Both are told from what a part does: bytes it reads, or products it makes.
constexpr double kPartUs = 25, kShortestPartUs = 3;
constexpr double kBytesPerUs = 12e3, kProductsPerUs = 150e3;  // of one thread, roughly; only the split depends on them
constexpr int kPartsPerThread = 6;
constexpr size_t kMaxJobs = 16;

double panel_us(const LinearJob& job) {
  const Linear& w = *job.weight;
  const double bytes = static_cast<double>(w.packed.size()) / static_cast<double>(w.panels());
  const double products = static_cast<double>(job.n * w.kernel->panel_rows * w.matrix.cols);
  return std::max(bytes / kBytesPerUs, products / kProductsPerUs);
}

struct Part {
  const LinearJob* job;
  int64_t panels;  // of one part; the last may have fewer
  int64_t parts;
};

void run_part(const Activations& src, const Part& part, int64_t i) {
  const LinearJob& job = *part.job;
  const Linear& w = *job.weight;
  const LinearArgs args{w.matrix, w.packed.data(), src.f32, src.q8, job.n, w.bias, job.dst, job.dst_stride};
  w.kernel->run(args, i * part.panels, std::min(w.panels(), (i + 1) * part.panels));
}

void run_group(ThreadPool& pool, const Activations& src, std::span<const LinearJob> jobs) {
  double total_us = 0;
  for (const LinearJob& job : jobs) total_us += job.n > 0 ? panel_us(job) * static_cast<double>(job.weight->panels()) : 0;
  const double part_us = std::clamp(total_us / (pool.threads() * kPartsPerThread), kShortestPartUs, kPartUs);
  Part parts[kMaxJobs];
  int64_t total = 0;
  size_t n = 0;
  for (const LinearJob& job : jobs) {
    if (job.n <= 0) continue;
    const int64_t panels = pool.threads() == 1 ? job.weight->panels()
                                               : std::max<int64_t>(1, static_cast<int64_t>(part_us / panel_us(job)));
    parts[n] = {&job, panels, (job.weight->panels() + panels - 1) / panels};
    total += parts[n++].parts;
  }
  pool.run(total, [&](int64_t i) {
    const Part* part = parts;
    while (i >= part->parts) i -= part++->parts;
    run_part(src, *part, i);
  });
}

}  // namespace

Result<Linear> pack_linear(const Tensor& weight, std::span<const KernelTable* const> tables, Numerics numerics,
                           ThreadPool& pool, void (*progress)(void* context, int64_t rows_done), void* context) {
  Linear linear;
  linear.matrix = {weight.type, weight.rows, weight.cols};
  size_t bytes = 0;
  linear.kernel = find_kernel(linear.matrix, tables, numerics, &bytes);
  if (linear.kernel == nullptr) {
    return Error{ErrorCode::unsupported,
                 shape_text(weight) + ": no kernel multiplies it; columns must be whole blocks of " +
                     std::to_string(info(weight.type).block_elements) + ", else convert the tensor to another type"};
  }
  linear.packed = Buffer(bytes);
  if (linear.packed.data() == nullptr) {
    return Error{ErrorCode::capacity, shape_text(weight) + ": " + std::to_string(bytes) +
                                          " bytes refused by the system; use a smaller model or free memory"};
  }
  const int64_t panels = linear.panels();
  const size_t panel_bytes = bytes / static_cast<size_t>(panels);
  const int64_t slab = std::max<int64_t>(pool.threads(), static_cast<int64_t>(kSlabBytes / panel_bytes));
  for (int64_t begin = 0; begin < panels; begin += slab) {
    const int64_t end = std::min(panels, begin + slab);
    const int64_t share = (end - begin + pool.threads() * 4 - 1) / (pool.threads() * 4);
    pool.run((end - begin + share - 1) / share, [&](int64_t i) {
      const int64_t first = begin + i * share;
      linear.kernel->pack(linear.matrix, weight.data, linear.packed.data(), first, std::min(end, first + share));
    });
    if (progress != nullptr) progress(context, std::min(weight.rows, end * linear.kernel->panel_rows));
  }
  return linear;
}

void linear(ThreadPool& pool, const Activations& src, std::span<const LinearJob> jobs) noexcept {
  for (size_t i = 0; i < jobs.size(); i += kMaxJobs) run_group(pool, src, jobs.subspan(i, std::min(kMaxJobs, jobs.size() - i)));
}

}  // namespace fathom
