// Quantised products with AMX, panels in one stream. Next in the flow: kernels/cpu/tables.cc.
#include "kernels/cpu/amx.h"

#if defined(__x86_64__)
#include "kernels/cpu/linear_amx-inl.h"

namespace fathom::kernels::vnni {
namespace {

struct TileRuns {
  template <DType type, int planes>
  static constexpr auto quantised = run_panels_by_tiles<type, planes, Interleaved<type>>;
};

}  // namespace
}  // namespace fathom::kernels::vnni

namespace fathom::kernels::amx {

void replace_quantised(LinearLists& lists) {
  constexpr LinearKernels<vnni::TileRuns> kKernels{"cpu/amx"};
  kKernels.fill_quantised<1>(lists.fast);
  kKernels.fill_quantised<2>(lists.faithful);
}

}  // namespace fathom::kernels::amx
#endif  // __x86_64__
