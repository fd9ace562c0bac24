// SplitCursor: where a panel in two streams (split_panel.h) is read; what is asked for ahead. Shared by every
// instruction set, each of which joins the codes in its own vectors. Next in the flow: head.cc, head_vnni.cc.
#pragma once

#include "kernels/cpu/linear_tile.h"
#include "kernels/cpu/split_panel.h"

namespace fathom::kernels {

template <DType type>
struct SplitCursor {
  using Layout = SplitLayout<type>;
  const uint8_t* head;                                              // of the unit
  const uint8_t* low;                                               // of its first block
  int64_t high_ahead = kPrefetchBytes, low_ahead = kPrefetchBytes;  // how far ahead to ask for each stream

  inline __attribute__((always_inline)) SplitCursor(const LinearArgs& args, int64_t panel, int64_t block) {
    const Layout layout(args.matrix);
    const auto* packed = static_cast<const uint8_t*>(args.packed);
    head =
        packed + layout.high_at(panel) + layout.norm_bytes + block / Layout::kPanel.blocks() * Layout::kHighUnitBytes;
    low = packed + layout.low_at(panel) + block * Layout::kSplit.low_block_bytes;
  }

  /// A whole panel of a list: while it is read, the next one is asked for.
  inline __attribute__((always_inline)) SplitCursor(const LinearArgs& args, const int32_t* panel, const int32_t* next)
      : SplitCursor(args, *panel, 0) {
    const Layout layout(args.matrix);
    high_ahead = static_cast<int64_t>(layout.high_bytes) * (*next - *panel);
    low_ahead = static_cast<int64_t>(layout.low_bytes) * (*next - *panel);
  }

  /// The codes of a block of the unit: high parts, low parts.
  struct Block {
    const uint8_t *high, *low;
  };
  inline __attribute__((always_inline)) Block block(int run) const {
    const Block at{head + Layout::kPanel.head_bytes + run * Layout::kHighBlockBytes,
                   low + run * Layout::kSplit.low_block_bytes};
    prefetch(at.high, Layout::kHighUnitBytes / Layout::kPanel.blocks(), high_ahead);
    prefetch(at.low, Layout::kSplit.low_block_bytes, low_ahead);
    return at;
  }

  inline __attribute__((always_inline)) void next_unit() {
    head += Layout::kHighUnitBytes;
    low += Layout::kPanel.blocks() * Layout::kSplit.low_block_bytes;
  }
};

}  // namespace fathom::kernels
