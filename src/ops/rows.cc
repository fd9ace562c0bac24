// merge(): one table out of several.
#include "fathom/ops/rows.h"

namespace fathom {
namespace {

template <class Fn>
void take(Kernel<Fn>& into, const Kernel<Fn>& from) {
  if (into.name == nullptr) into = from;
}

}  // namespace

KernelTable merge(std::span<const KernelTable* const> tables) noexcept {
  KernelTable merged;
  for (const KernelTable* table : tables) {
    if (merged.name == nullptr) merged.name = table->name;
    take(merged.embed, table->embed);
    take(merged.norm, table->norm);
    take(merged.quantize, table->quantize);
    take(merged.round, table->round);
    take(merged.gated, table->gated);
    take(merged.add, table->add);
    take(merged.rope, table->rope);
    take(merged.similarity, table->similarity);
    take(merged.dots, table->dots);
    take(merged.logit_stats, table->logit_stats);
    take(merged.kv_write, table->kv_write);
    take(merged.attention, table->attention);
    take(merged.attention_share, table->attention_share);
  }
  return merged;
}

}  // namespace fathom
