// Code for instructions the machine may lack: only what stands between BEGIN and END may use them, so that nothing of
// the standard library is in it. Next in the flow: kernels/cpu/linear_vnni-inl.h, linear_bf16.cc, linear_amx.cc.
#pragma once

#define FATHOM_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define FATHOM_TARGET_BEGIN(names) \
  FATHOM_PRAGMA(clang attribute push(__attribute__((target(names))), apply_to = function))
#define FATHOM_TARGET_END FATHOM_PRAGMA(clang attribute pop)
#else
#define FATHOM_TARGET_BEGIN(names) \
  FATHOM_PRAGMA(GCC push_options)  \
  FATHOM_PRAGMA(GCC target(names))
#define FATHOM_TARGET_END FATHOM_PRAGMA(GCC pop_options)
#endif

#define FATHOM_INLINE inline __attribute__((always_inline))
