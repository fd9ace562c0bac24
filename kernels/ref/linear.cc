// Reference products: the packed matrix is the file's rows, expanded 256 inputs at a time; sums in double, inputs
// ascending. Next in the flow: kernels/ref/attention.cc.
#include <algorithm>
#include <cstring>

#include "kernels/ref/dequant.h"
#include "kernels/ref/half.h"
#include "kernels/ref/kernels.h"

namespace fathom::kernels::reference {
namespace {

constexpr int64_t kSpan = 256;     // inputs expanded at a time: whole blocks of every type
constexpr int64_t kRowGroup = 16;  // activation rows that share one expansion

size_t matrix_row_bytes(const MatrixDesc& m) { return row_bytes(m.type, static_cast<size_t>(m.cols)); }

template <DType kType>
size_t packed_bytes(const MatrixDesc& m) noexcept {
  if (m.type != kType || m.rows <= 0 || m.cols <= 0 || m.cols % info(kType).block_elements != 0) return 0;
  return static_cast<size_t>(m.rows) * matrix_row_bytes(m);
}

void pack(const MatrixDesc& m, const void* src, void* dst, int64_t begin, int64_t end) noexcept {
  const size_t bytes = matrix_row_bytes(m);
  const size_t offset = static_cast<size_t>(begin) * bytes;
  std::memcpy(static_cast<char*>(dst) + offset, static_cast<const char*>(src) + offset,
              static_cast<size_t>(end - begin) * bytes);
}

/// What row r of the left side holds at input i.
template <Activation kLeft>
double activation(const LinearArgs& args, int64_t r, int64_t i) {
  if (kLeft == Activation::f32) return args.src[r * args.matrix.cols + i];
  if (kLeft == Activation::bf16) return bfloat16_to_float(args.src_bf16[r * padded_cols(args.matrix.cols) + i]);
  const QuantRows& q = args.src_quant;
  const int high = q.values[r * q.cols + i];
  const int value = kLeft == Activation::q12 ? 16 * high + q.low[r * q.cols + i] : high;
  return static_cast<double>(q.scales[r * (q.cols / kQuantBlock) + i / kQuantBlock]) * value;
}

template <Activation kLeft>
void output(const LinearArgs& args, int64_t o, int64_t row_begin, int64_t row_end) {
  const MatrixDesc& m = args.matrix;
  const char* packed = static_cast<const char*>(args.packed) + static_cast<size_t>(o) * matrix_row_bytes(m);
  double sums[kRowGroup] = {};
  float weights[kSpan];
  for (int64_t i = 0; i < m.cols; i += kSpan) {
    const int64_t n = std::min(kSpan, m.cols - i);
    dequantize_row(m.type, packed + row_bytes(m.type, static_cast<size_t>(i)), weights, n);
    if (kLeft == Activation::bf16) {
      for (int64_t j = 0; j < n; ++j) weights[j] = bfloat16_to_float(float_to_bfloat16(weights[j]));
    }
    for (int64_t r = row_begin; r < row_end; ++r) {
      for (int64_t j = 0; j < n; ++j) sums[r - row_begin] += activation<kLeft>(args, r, i + j) * weights[j];
    }
  }
  for (int64_t r = row_begin; r < row_end; ++r) {
    const double bias = args.bias != nullptr ? args.bias[o] : 0.0;
    args.dst[r * args.dst_stride + o] = static_cast<float>(sums[r - row_begin] + bias);
  }
}

template <Activation kLeft>
void run(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
  for (int64_t o = begin; o < end; ++o) {
    for (int64_t r = 0; r < args.n; r += kRowGroup) output<kLeft>(args, o, r, std::min(args.n, r + kRowGroup));
  }
}

template <DType kType, Activation kLeft>
constexpr LinearKernel kEntry = {"ref", kLeft, 1, packed_bytes<kType>, pack, run<kLeft>};

#define FATHOM_REF_LIST(left)                                                                                       \
  {                                                                                                                 \
    kEntry<DType::f32, left>, kEntry<DType::f16, left>, kEntry<DType::bf16, left>, kEntry<DType::q4_0, left>,       \
        kEntry<DType::q5_0, left>, kEntry<DType::q8_0, left>, kEntry<DType::q4_k, left>, kEntry<DType::q5_k, left>, \
        kEntry<DType::q6_k, left>                                                                                   \
  }

}  // namespace

const LinearKernel linear_fast[kDTypes] = FATHOM_REF_LIST(Activation::q8);
const LinearKernel linear_faithful[kDTypes] = FATHOM_REF_LIST(Activation::q12);
const LinearKernel linear_exact[kDTypes] = FATHOM_REF_LIST(Activation::f32);
const LinearKernel linear_bf16[kDTypes] = FATHOM_REF_LIST(Activation::bf16);
#undef FATHOM_REF_LIST

}  // namespace fathom::kernels::reference
