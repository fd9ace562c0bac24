// The tables of this machine: one for each instruction set it can run, best first. Next in the flow: src/ops/linear.cc.
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tables.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernels/abi.h"
#include "kernels/cpu/linear_targets.h"
#include "kernels/cpu/linear_vnni.h"

namespace fathom::kernels::HWY_NAMESPACE {

LinearLists linear_lists();
void fill_row_kernels(KernelTable& table);
void fill_attention_kernels(KernelTable& table);

KernelTable make_table(const char* name) {
  const LinearLists lists = linear_lists();
  KernelTable table;
  table.name = name;
  table.linear = lists.fast;
  table.n_linear = kDTypes;
  table.linear_exact = lists.exact;
  table.n_linear_exact = 1;
  fill_row_kernels(table);
  fill_attention_kernels(table);
  return table;
}

}  // namespace fathom::kernels::HWY_NAMESPACE

#if HWY_ONCE
namespace fathom::kernels {
namespace {

#if HWY_TARGETS & HWY_AVX3
bool has_avx512_vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }
#endif

struct Tables {
  KernelTable tables[8];
  const KernelTable* pointers[8];
  int32_t n = 0;
  LinearKernel vnni_linear[vnni::kKernels + kDTypes];  // byte dot products first, the plain types of AVX3 behind them

  void add(const KernelTable& table) {
    tables[n] = table;
    pointers[n] = &tables[n];
    ++n;
  }

  Tables() {
    [[maybe_unused]] const int64_t usable = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_AVX3
    if ((usable & HWY_AVX3) != 0 && has_avx512_vnni()) {
      KernelTable table = N_AVX3::make_table("cpu/avx512vnni");
      std::copy_n(vnni::kLinear, vnni::kKernels, vnni_linear);
      std::copy_n(table.linear, table.n_linear, vnni_linear + vnni::kKernels);
      table.linear = vnni_linear;
      table.n_linear += vnni::kKernels;
      add(table);
    }
    if (usable & HWY_AVX3) add(N_AVX3::make_table("cpu/avx3"));
#endif
#if HWY_TARGETS & HWY_AVX2
    if (usable & HWY_AVX2) add(N_AVX2::make_table("cpu/avx2"));
#endif
#if HWY_TARGETS & HWY_NEON
    if (usable & HWY_NEON) add(N_NEON::make_table("cpu/neon"));
#endif
#if HWY_TARGETS & HWY_EMU128
    add(N_EMU128::make_table("cpu/scalar"));
#elif HWY_TARGETS & HWY_SCALAR
    add(N_SCALAR::make_table("cpu/scalar"));
#endif
  }
};

}  // namespace

const KernelTable* const* cpu(int32_t* n) {
  static const Tables tables;
  *n = tables.n;
  return tables.pointers;
}

}  // namespace fathom::kernels
#endif  // HWY_ONCE
