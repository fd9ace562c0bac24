// Packing a matrix for the kernel that serves it, and running a sublayer's products as one parallel region.
// Next in the flow: include/fathom/ops/attention.h.
#include "fathom/ops/linear.h"

#include <algorithm>
#include <cmath>
#include <optional>
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

const HeadKernel* find_head_kernel(const MatrixDesc& matrix, std::span<const KernelTable* const> tables,
                                   Numerics numerics) {
  for (const KernelTable* table : tables) {
    const HeadList& list = table->head[static_cast<int>(numerics)];
    for (int32_t i = 0; i < list.n; ++i) {
      if (list.kernels[i].product.packed_bytes(matrix) != 0) return &list.kernels[i];
    }
  }
  return nullptr;
}

std::string shape_text(const Tensor& w) {
  return "tensor " + w.name + " (" + std::string(info(w.type).name) + ", " + std::to_string(w.rows) + " x " +
         std::to_string(w.cols) + ")";
}

// ---- the parts of a region ----------------------------------------------------------------------------------------

// A region's work is a line of units, a panel for some rows each, as long as its bytes or its products take; a part is
// a stretch of that line. First comes one long part for each thread, since every part gathers its activations anew
// (about one panel's products), then short ones, so that threads end together. With eight equal parts for each thread,
// 16 rows of 2048 x 640 took 1.2 times as long.
constexpr double kLongShare = 0.6;  // of the line, in long parts
constexpr int kShortParts = 4;      // for each thread, at least
constexpr double kLongestShortUs = 200, kShortestPartUs = 3;
constexpr double kBytesPerUs = 12e3, kProductsPerUs = 200e3;  // of one thread, roughly; only the split depends on them
constexpr int64_t kPartRows = 64;  // rows of one unit; fewer would read the weights too often
constexpr size_t kMaxJobs = 16;

int64_t pieces(int64_t all, int64_t each) { return (all + each - 1) / each; }

/// One job's stretch of the line: units in the order of rows, then panels.
struct Stretch {
  const LinearJob* job;
  int64_t rows;  // of a unit; the last have fewer
  int64_t units;
  double unit_us;
  double begin_us;

  Stretch(const LinearJob& j, double begin) : job(&j), begin_us(begin) {
    const Linear& w = *j.weight;
    rows = j.n < 2 * kPartRows ? j.n : kPartRows;
    units = pieces(j.n, rows) * w.panels();
    const double bytes = static_cast<double>(w.packed_bytes) / static_cast<double>(w.panels());
    const double products = static_cast<double>(rows * w.kernel->panel_rows * w.matrix.cols);
    unit_us = std::max(bytes / kBytesPerUs, products / kProductsPerUs);
  }
  double end_us() const { return begin_us + static_cast<double>(units) * unit_us; }

  /// The first unit that begins at or after a time: neighbouring parts meet there.
  int64_t unit_at(double us) const {
    return static_cast<int64_t>(std::clamp(std::ceil((us - begin_us) / unit_us), 0.0, static_cast<double>(units)));
  }
};

/// Panels [panel, end) for the rows of a unit that begin at `row`.
void run_panels(const Activations& src, const Stretch& stretch, int64_t row, int64_t panel, int64_t end) {
  const LinearJob& job = *stretch.job;
  const Linear& w = *job.weight;
  LinearArgs args{w.matrix, w.packed, nullptr,        {},     std::min(stretch.rows, job.n - row),
                  w.bias,   nullptr,  job.dst_stride, nullptr};
  args.dst = job.dst + row * job.dst_stride;
  if (w.kernel->activation == Activation::f32) {
    args.src = src.f32 + row * w.matrix.cols;
  } else if (w.kernel->activation == Activation::bf16) {
    args.src_bf16 = src.bf16 + row * padded_cols(w.matrix.cols);
  } else {
    const int64_t first = row * src.quant.cols;
    args.src_quant = {src.quant.values + first, src.quant.scales + first / kQuantBlock,
                      src.quant.sums + first / kSumBlock, src.quant.cols,
                      src.quant.low != nullptr ? src.quant.low + first : nullptr};
  }
  w.kernel->run(args, panel, end);
}

void run_units(const Activations& src, const Stretch& stretch, int64_t begin, int64_t end) {
  const int64_t panels = stretch.job->weight->panels();
  while (begin < end) {
    const int64_t block = begin / panels, stop = std::min(end, (block + 1) * panels);
    run_panels(src, stretch, block * stretch.rows, begin % panels, stop - block * panels);
    begin = stop;
  }
}

/// Where part i of a line begins, in us.
struct Parts {
  double total, long_us;
  int64_t n_long, n_short;

  Parts(double total_us, int threads) : total(total_us) {
    const double share = total_us / threads;
    n_long = share * kLongShare < kShortestPartUs ? 0 : threads;
    long_us = share * kLongShare;
    const double rest = total_us - static_cast<double>(n_long) * long_us;
    const double each = std::clamp(rest / (threads * kShortParts), kShortestPartUs, kLongestShortUs);
    n_short = std::max<int64_t>(1, static_cast<int64_t>(rest / each));
  }
  int64_t n() const { return n_long + n_short; }
  double begin(int64_t i) const {
    if (i <= n_long) return static_cast<double>(i) * long_us;
    const double first = static_cast<double>(n_long) * long_us;
    return i == n() ? total : first + (total - first) * static_cast<double>(i - n_long) / static_cast<double>(n_short);
  }
};

void run_group(ThreadPool& pool, const Activations& src, std::span<const LinearJob> jobs) {
  std::optional<Stretch> line[kMaxJobs];
  double total_us = 0;
  size_t n = 0;
  for (const LinearJob& job : jobs) {
    if (job.n <= 0) continue;
    line[n].emplace(job, total_us);
    total_us = line[n++]->end_us();
  }
  if (n == 0) return;
  const Parts parts(total_us, pool.threads());
  pool.run(pool.threads() == 1 ? 1 : parts.n(), [&](int64_t i) {
    const bool all = pool.threads() == 1, last = all || i + 1 == parts.n();
    for (size_t j = 0; j < n; ++j) {
      const Stretch& stretch = *line[j];
      run_units(src, stretch, all ? 0 : stretch.unit_at(parts.begin(i)),
                last ? stretch.units : stretch.unit_at(parts.begin(i + 1)));
    }
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

Result<HeadLinear> plan_head(const Tensor& weight, std::span<const KernelTable* const> tables, Numerics numerics) {
  HeadLinear head;
  head.product.matrix = {weight.type, weight.rows, weight.cols};
  head.kernel = find_head_kernel(head.product.matrix, tables, numerics);
  if (head.kernel == nullptr) {
    return Error{ErrorCode::unsupported,
                 shape_text(weight) +
                     ": no kernel screens it: use the whole head, or a head in Q8_0 or Q6_K of at most "
                     "5120 columns on a numeric path other than exact"};
  }
  head.product.kernel = &head.kernel->product;
  head.product.packed_bytes = head.product.kernel->packed_bytes(head.product.matrix);
  return head;
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
