// Linear: a weight matrix packed for the kernel that serves it, and the products of one sublayer.
// Next in the flow: ops/attention.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/core/threads.h"
#include "fathom/ops/kernel_table.h"

namespace fathom {

/// A packed matrix [rows, cols] with an optional bias [rows]. The packed memory belongs to whoever packed it.
struct Linear {
  MatrixDesc matrix{};
  const LinearKernel* kernel = nullptr;
  size_t packed_bytes = 0;
  const std::byte* packed = nullptr;  // null until pack_linear
  const float* bias = nullptr;

  bool empty() const { return kernel == nullptr; }
  int64_t panels() const { return (matrix.rows + kernel->panel_rows - 1) / kernel->panel_rows; }
};

/// Chooses the first kernel of `tables` that accepts a file's matrix; tells the memory it wants, packs nothing.
///   errors   unsupported: no kernel accepts (type, shape)
FATHOM_API Result<Linear> plan_linear(const Tensor& weight, std::span<const KernelTable* const> tables,
                                      Numerics numerics);

/// A head matrix packed in two parts: pack_linear packs its product, screens read the high part.
struct HeadLinear {
  Linear product;
  const HeadKernel* kernel = nullptr;  // product.kernel points into it

  bool empty() const { return kernel == nullptr; }
};

/// The same for a head matrix that is to be screened.
///   errors   unsupported: no kernel screens (type, shape); plan_linear may still serve it
FATHOM_API Result<HeadLinear> plan_head(const Tensor& weight, std::span<const KernelTable* const> tables,
                                        Numerics numerics);

/// Called after each slab with the number of source rows no longer needed, so that their pages can be given back.
struct PackProgress {
  void (*rows_done)(void* context, int64_t rows) = nullptr;
  void* context = nullptr;
};

/// Packs a planned matrix into `dst`, packed_bytes at a 64-byte boundary, panels in parallel.
FATHOM_API void pack_linear(Linear& linear, const Tensor& weight, std::byte* dst, ThreadPool& pool,
                            PackProgress progress = {});

/// Activations of one sublayer in every form its products read.
struct Activations {
  const float* f32 = nullptr;      // [n, cols]
  QuantRows quant{};               // filled when some product reads q8 or q12
  const uint16_t* bf16 = nullptr;  // [n, padded_cols(cols)], filled when some product reads bf16
};

/// One product of a group: the first n rows of the activations times `weight`.
struct LinearJob {
  const Linear* weight = nullptr;
  int64_t n = 0;
  float* dst = nullptr;  // [n, dst_stride]
  int64_t dst_stride = 0;
};

/// Runs several products that share their activations as one parallel region.
FATHOM_API void linear(ThreadPool& pool, const Activations& src, std::span<const LinearJob> jobs) noexcept;

}  // namespace fathom
