// Q8_0 of wide rows, block by block.
#include "src/ops/quantise_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/ref/dequant.h"
#include "kernels/ref/half.h"

namespace fathom {
namespace {

constexpr int kBlock = 32;
constexpr uint16_t kHalfNan = 0x7E00;

void quantise_block(const float* x, std::byte* dst) {
  float most = 0;
  bool finite = true;
  for (int i = 0; i < kBlock; ++i) {
    finite &= std::isfinite(x[i]);
    most = std::max(most, std::fabs(x[i]));
  }
  const float d = most / 127, inverse = d > 0 ? 1 / d : 0;
  const uint16_t scale = finite ? kernels::float_to_half(d) : kHalfNan;
  std::memcpy(dst, &scale, sizeof scale);
  for (int i = 0; i < kBlock; ++i) {
    const float q = finite ? std::round(x[i] * inverse) : 0;  // of the smallest numbers 1 / d may be infinite
    dst[2 + i] = static_cast<std::byte>(static_cast<int8_t>(std::isfinite(q) ? std::clamp(q, -127.0f, 127.0f) : 0));
  }
}

}  // namespace

void quantise_row(DType type, const std::byte* src, int64_t cols, std::byte* dst) noexcept {
  const size_t from = row_bytes(type, kBlock), to = row_bytes(DType::q8_0, kBlock);
  for (int64_t c = 0; c < cols; c += kBlock, src += from, dst += to) {
    float x[kBlock];
    kernels::dequantize_row(type, src, x, kBlock);
    quantise_block(x, dst);
  }
}

}  // namespace fathom
