// Processor time, for tests that bound work: a busy machine, which stretches the clock's time, reads the same.
#pragma once

#include <ctime>

namespace fathom::testing {

/// Seconds of processor time this process has used.
inline double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace fathom::testing
