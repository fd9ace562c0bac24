// Element types of weights and caches, with GGUF's block geometry. Next in the flow: core/tensor.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fathom {

/// Types Fathom computes with. Quantised types store rows as whole blocks.
enum class DType : uint8_t { f32, f16, bf16, q4_0, q5_0, q8_0, q4_k, q5_k, q6_k };
inline constexpr int kDTypes = 9;

/// Geometry of one type: `block_elements` elements are stored in `block_bytes` bytes.
struct DTypeInfo {
  std::string_view name;  // as files and messages spell it
  uint32_t gguf_id;       // ggml_type in a GGUF tensor record
  uint32_t block_elements;
  uint32_t block_bytes;
};

inline constexpr DTypeInfo kDTypeInfo[kDTypes] = {
    {"F32", 0, 1, 4},    {"F16", 1, 1, 2},       {"BF16", 30, 1, 2},     {"Q4_0", 2, 32, 18},    {"Q5_0", 6, 32, 22},
    {"Q8_0", 8, 32, 34}, {"Q4_K", 12, 256, 144}, {"Q5_K", 13, 256, 176}, {"Q6_K", 14, 256, 210},
};

constexpr const DTypeInfo& info(DType type) { return kDTypeInfo[static_cast<int>(type)]; }

/// Bytes of one row of `elements` elements; `elements` is a whole number of blocks.
constexpr size_t row_bytes(DType type, size_t elements) {
  return elements / info(type).block_elements * info(type).block_bytes;
}

}  // namespace fathom
