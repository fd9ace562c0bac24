// The lists of linear kernels of each target. Next in the flow: kernels/cpu/tables.cc, which puts them into tables.
#pragma once

#include "kernels/cpu/pack.h"

namespace fathom::kernels {

/// Kernels of one target: one for each type, and the exact one.
struct LinearLists {
  const LinearKernel* fast;   // [kDTypes], in the order of DType
  const LinearKernel* exact;  // [1]
};

/// `run` functions of one target.
struct LinearRuns {
  using Run = void (*)(const LinearArgs& args, int64_t begin, int64_t end) noexcept;
  Run f32, f16, bf16, q4_0, q5_0, q8_0, q4_k, q5_k, q6_k;
};

/// Names as the tables show them: "cpu/avx2/" + type.
#define FATHOM_LINEAR_LISTS(target, runs)                                                                          \
  constexpr LinearKernel kFast[kDTypes] = {                                                                        \
      {target "/f32", Activation::f32, kPanelRows, plain_bytes<DType::f32>, pack_plain<DType::f32>, runs.f32},     \
      {target "/f16", Activation::f32, kPanelRows, plain_bytes<DType::f16>, pack_plain<DType::f16>, runs.f16},     \
      {target "/bf16", Activation::f32, kPanelRows, plain_bytes<DType::bf16>, pack_plain<DType::bf16>, runs.bf16}, \
      {target "/q4_0", Activation::q8, kPanelRows, quantised_bytes<DType::q4_0>, pack_quantised<DType::q4_0>,      \
       runs.q4_0},                                                                                                 \
      {target "/q5_0", Activation::q8, kPanelRows, quantised_bytes<DType::q5_0>, pack_quantised<DType::q5_0>,      \
       runs.q5_0},                                                                                                 \
      {target "/q8_0", Activation::q8, kPanelRows, quantised_bytes<DType::q8_0>, pack_quantised<DType::q8_0>,      \
       runs.q8_0},                                                                                                 \
      {target "/q4_k", Activation::q8, kPanelRows, quantised_bytes<DType::q4_k>, pack_quantised<DType::q4_k>,      \
       runs.q4_k},                                                                                                 \
      {target "/q5_k", Activation::q8, kPanelRows, quantised_bytes<DType::q5_k>, pack_quantised<DType::q5_k>,      \
       runs.q5_k},                                                                                                 \
      {target "/q6_k", Activation::q8, kPanelRows, quantised_bytes<DType::q6_k>, pack_quantised<DType::q6_k>,      \
       runs.q6_k},                                                                                                 \
  };                                                                                                               \
  constexpr LinearKernel kExact[1] = {                                                                             \
      {target "/exact", Activation::f32, kPanelRows, expanded_bytes, pack_expanded, runs.f32}}

}  // namespace fathom::kernels
