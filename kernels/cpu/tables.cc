// The tables of this machine: one for each instruction set it can run, best first. Next in the flow: src/ops/linear.cc.
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tables.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/abi.h"
#include "kernels/cpu/amx.h"
#include "kernels/cpu/linear_bf16.h"
#include "kernels/cpu/linear_targets.h"
#include "kernels/cpu/linear_vnni.h"

namespace fathom::kernels::HWY_NAMESPACE {

LinearLists linear_lists(const char* target);
void add_head_kernels(const char* target, LinearLists& lists);
void fill_row_kernels(KernelTable& table);
void fill_quantize_kernels(KernelTable& table);
void fill_attention_kernels(KernelTable& table);

void fill_table(const char* target, KernelTable& table, LinearLists& lists) {
  table.name = target;
  lists = linear_lists(target);
  add_head_kernels(target, lists);
  lists.put_into(table);
  fill_row_kernels(table);
  fill_quantize_kernels(table);
  fill_attention_kernels(table);
}

}  // namespace fathom::kernels::HWY_NAMESPACE

#if HWY_ONCE
namespace fathom::kernels {
namespace {

struct Tables {
  using Fill = void (*)(const char* target, KernelTable& table, LinearLists& lists);
  KernelTable tables[8];
  LinearLists lists[8];  // what the tables point to
  const KernelTable* pointers[8];
  int32_t n = 0;

  void add(Fill fill, const char* target) {
    fill(target, tables[n], lists[n]);
    pointers[n] = &tables[n];
    ++n;
  }

#if HWY_TARGETS & HWY_AVX3
  /// Quantised types by byte products; plain types and rows are those of AVX3.
  LinearLists& add_vnni(const char* name) {
    add(N_AVX3::fill_table, "cpu/avx3");
    tables[n - 1].name = name;
    vnni::replace_quantised(lists[n - 1]);
    vnni::replace_heads(lists[n - 1]);
    return lists[n - 1];
  }

  void add_tiles() {
    LinearLists& own = add_vnni("cpu/amx");
    amx::replace_quantised(own);
    amx::replace_heads(own);
    own.bf16[0] = amx::bf16_kernel();
  }
#endif

  Tables() {
    [[maybe_unused]] const int64_t usable = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_AVX3
    if ((usable & HWY_AVX3) != 0 && __builtin_cpu_supports("avx512vnni") != 0) {
      // Cores with AMX start a pair product of AVX-512 every second cycle, half of what plain fused products give.
      const bool tiles = amx::usable(), pairs = avx512bf16::usable();
      if (tiles) add_tiles();
      if (pairs && !tiles) add_vnni("cpu/avx512bf16").bf16[0] = avx512bf16::bf16_kernel();
      add_vnni("cpu/avx512vnni");
      if (pairs && tiles) add_vnni("cpu/avx512bf16").bf16[0] = avx512bf16::bf16_kernel();
    }
    if (usable & HWY_AVX3) add(N_AVX3::fill_table, "cpu/avx3");
#endif
#if HWY_TARGETS & HWY_AVX2
    if (usable & HWY_AVX2) add(N_AVX2::fill_table, "cpu/avx2");
#endif
#if HWY_TARGETS & HWY_NEON
    if (usable & HWY_NEON) add(N_NEON::fill_table, "cpu/neon");
#endif
#if HWY_TARGETS & HWY_EMU128
    add(N_EMU128::fill_table, "cpu/scalar");
#elif HWY_TARGETS & HWY_SCALAR
    add(N_SCALAR::fill_table, "cpu/scalar");
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
