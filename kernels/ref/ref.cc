// The reference table: every operation, scalar, sums in double; it is the specification of the fast kernels.
// Next in the flow: kernels/cpu/tables.cc.
#include "kernels/abi.h"
#include "kernels/ref/kernels.h"

namespace fathom::kernels {
namespace {

constexpr KernelTable make_table() {
  KernelTable t{};
  t.name = "ref";
  t.linear[static_cast<int>(Numerics::fast)] = {reference::linear_fast, kDTypes};
  t.linear[static_cast<int>(Numerics::faithful)] = {reference::linear_faithful, kDTypes};
  t.linear[static_cast<int>(Numerics::exact)] = {reference::linear_exact, kDTypes};
  t.linear[static_cast<int>(Numerics::bf16)] = {reference::linear_bf16, kDTypes};
  t.embed = {"ref/embed", reference::embed};
  t.norm = {"ref/norm", reference::norm};
  t.quantize = {"ref/quantize", reference::quantize};
  t.round = {"ref/round", reference::round};
  t.gated = {"ref/gated", reference::gated};
  t.add = {"ref/add", reference::add};
  t.rope = {"ref/rope", reference::rope};
  t.similarity = {"ref/similarity", reference::similarity};
  t.dots = {"ref/dots", reference::dots};
  t.logit_stats = {"ref/logit_stats", reference::logit_stats};
  t.kv_write = {"ref/kv_write", reference::kv_write};
  t.attention = {"ref/attention", {reference::attention_chunk, reference::attention_fold, reference::attention_finish}};
  t.attention_share = {"ref/attention_share", reference::attention_share};
  return t;
}

constexpr KernelTable kTable = make_table();

}  // namespace

const KernelTable& ref() { return kTable; }

}  // namespace fathom::kernels
