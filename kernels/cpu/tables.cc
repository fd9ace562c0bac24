// The tables of this machine: one for each instruction set it can run, best first. Next in the flow: src/ops/linear.cc.
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tables.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/abi.h"
#include "kernels/cpu/linear_targets.h"

namespace fathom::kernels::HWY_NAMESPACE {

LinearLists linear_lists();

KernelTable make_table(const char* name) {
  const LinearLists lists = linear_lists();
  KernelTable table;
  table.name = name;
  table.linear = lists.fast;
  table.n_linear = kDTypes;
  table.linear_exact = lists.exact;
  table.n_linear_exact = 1;
  return table;
}

}  // namespace fathom::kernels::HWY_NAMESPACE

#if HWY_ONCE
namespace fathom::kernels {
namespace {

struct Tables {
  KernelTable tables[8];
  const KernelTable* pointers[8];
  int32_t n = 0;

  void add(const KernelTable& table) {
    tables[n] = table;
    pointers[n] = &tables[n];
    ++n;
  }

  Tables() {
    [[maybe_unused]] const int64_t usable = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_AVX3
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
