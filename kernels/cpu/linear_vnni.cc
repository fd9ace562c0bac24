// Quantised products with AVX-512 VNNI: a block is eight 64-byte vectors of codes in registers, unpacked once for up to
// 16 rows; each row costs eight vpdpbusd with a broadcast operand and two to four float steps, conversions aside. Order
// of sums: panel.h. Next in the flow: kernels/cpu/tables.cc, which offers this list where CPUID has avx512vnni.
//
// Codes are unsigned here: q8_0 gets 128 added, which its correction takes off again. vpdpbusd adds four products of at
// most 255 * 127 to 32 bits without saturation.
#include "kernels/cpu/linear_vnni.h"

#if defined(__x86_64__)
#include "kernels/cpu/linear_vnni-inl.h"

namespace fathom::kernels::vnni {
namespace {

struct Runs {
  template <DType type, int planes>
  static constexpr auto quantised = run_panels<type, planes, Interleaved<type>>;
};

}  // namespace

void replace_quantised(LinearLists& lists) {
  constexpr LinearKernels<Runs> kKernels{"cpu/avx512vnni"};
  kKernels.fill_quantised<1>(lists.fast);
  kKernels.fill_quantised<2>(lists.faithful);
}

}  // namespace fathom::kernels::vnni
#endif  // __x86_64__
