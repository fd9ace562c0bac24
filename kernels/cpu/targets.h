// Which Highway targets the CPU kernels are compiled for; include before hwy. Next in the flow: kernels/cpu/panel.h.
// SSE4 and older lack fused multiply-add, on which equal bits stand: such machines run the scalar target. SVE is left
// to NEON, whose vectors have a fixed size. AVX3_DL is made by hand (linear_vnni.cc), see google/highway#1176.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
