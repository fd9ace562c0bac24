// The two macros every header may use: FATHOM_API (what is exported) and FATHOM_ASSERT (programmer errors).
// Next in the flow: core/result.h.
#pragma once

#if defined(FATHOM_SHARED) && defined(__GNUC__)
#define FATHOM_API __attribute__((visibility("default")))
#else
#define FATHOM_API
#endif

// A broken precondition is a bug of the caller's code: checked in debug builds, not looked at otherwise.
#if !defined(NDEBUG) || defined(FATHOM_CHECKED)
#define FATHOM_ASSERT(condition) ((condition) ? void(0) : __builtin_trap())
#else
#define FATHOM_ASSERT(condition) void(sizeof(!(condition)))
#endif
