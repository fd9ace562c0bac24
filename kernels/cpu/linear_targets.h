// The lists of linear kernels of one target, from its `run` functions. Next in the flow: kernels/cpu/tables.cc.
#pragma once

#include "kernels/cpu/head_pack.h"
#include "kernels/cpu/pack.h"

namespace fathom::kernels {

inline constexpr int kQuantTypes = 6, kPlainTypes = 3, kHeadTypes = 2;

/// Kernels of one target. `Runs` has members, the functions for LinearKernel::run:
///   quantised<type, planes>   against codes; activations in one plane of bytes (q8) or two (q12)
///   plain<type>               against f32, f16 or bf16; activations in f32
///   rounded                   against weights rounded to bf16; activations in bf16
/// and those of HeadKernel:
///   split<type, planes>       the product against split panels
///   listed<type, planes>      the same for listed panels
///   screen<type, planes>      bounds from their high part
template <class Runs>
struct LinearKernels {
  const char* target;  // the kernels' name, "cpu/avx2"

  template <DType type, int planes>
  constexpr LinearKernel quantised() const {
    return {target,
            planes == 2 ? Activation::q12 : Activation::q8,
            kPanelRows,
            quantised_bytes<type>,
            pack_quantised<type>,
            Runs::template quantised<type, planes>};
  }

  template <DType type>
  constexpr LinearKernel plain() const {
    return {target, Activation::f32, kPanelRows, plain_bytes<type>, pack_plain<type>, Runs::template plain<type>};
  }

  /// The first kQuantTypes entries of a list.
  template <int planes>
  constexpr void fill_quantised(LinearKernel* list) const {
    list[0] = quantised<DType::q4_0, planes>();
    list[1] = quantised<DType::q5_0, planes>();
    list[2] = quantised<DType::q8_0, planes>();
    list[3] = quantised<DType::q4_k, planes>();
    list[4] = quantised<DType::q5_k, planes>();
    list[5] = quantised<DType::q6_k, planes>();
  }

  /// The rest of it.
  constexpr void fill_plain(LinearKernel* list) const {
    list[kQuantTypes] = plain<DType::f32>();
    list[kQuantTypes + 1] = plain<DType::f16>();
    list[kQuantTypes + 2] = plain<DType::bf16>();
  }

  template <DType type, int planes>
  constexpr HeadKernel head() const {
    return {{target, planes == 2 ? Activation::q12 : Activation::q8, kPanelRows, split_bytes<type>, pack_split<type>,
             Runs::template split<type, planes>},
            Runs::template listed<type, planes>,
            prepared_floats<type>,
            prepare_screen<type>,
            Runs::template screen<type, planes>};
  }

  template <int planes>
  constexpr void fill_heads(HeadKernel* list) const {
    list[0] = head<DType::q8_0, planes>();
    list[1] = head<DType::q6_k, planes>();
  }

  constexpr LinearKernel exact() const {
    return {target, Activation::f32, kPanelRows, expanded_bytes, pack_expanded, Runs::template plain<DType::f32>};
  }

  constexpr LinearKernel bf16() const {
    return {target, Activation::bf16, kPanelRows, rounded_bytes, pack_rounded, Runs::rounded};
  }
};

/// What a table points to: a list for each numeric path, every type served.
struct LinearLists {
  LinearKernel fast[kDTypes] = {}, faithful[kDTypes] = {}, exact[1] = {}, bf16[1] = {};
  HeadKernel fast_heads[kHeadTypes] = {}, faithful_heads[kHeadTypes] = {};

  LinearLists() = default;
  template <class Runs>
  explicit LinearLists(LinearKernels<Runs> kernels) : exact{kernels.exact()}, bf16{kernels.bf16()} {
    kernels.template fill_quantised<1>(fast);
    kernels.template fill_quantised<2>(faithful);
    kernels.fill_plain(fast);
    kernels.fill_plain(faithful);
  }

  template <class Runs>
  void add_heads(LinearKernels<Runs> kernels) {
    kernels.template fill_heads<1>(fast_heads);
    kernels.template fill_heads<2>(faithful_heads);
  }

  void put_into(KernelTable& table) const {
    table.linear[static_cast<int>(Numerics::fast)] = {fast, kDTypes};
    table.linear[static_cast<int>(Numerics::faithful)] = {faithful, kDTypes};
    table.linear[static_cast<int>(Numerics::exact)] = {exact, 1};
    table.linear[static_cast<int>(Numerics::bf16)] = {bf16, 1};
    table.head[static_cast<int>(Numerics::fast)] = {fast_heads, kHeadTypes};
    table.head[static_cast<int>(Numerics::faithful)] = {faithful_heads, kHeadTypes};
  }
};

}  // namespace fathom::kernels
