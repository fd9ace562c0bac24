// Ctrl-C: at once with code 130 while nothing is written yet, after the running token where text is being written.
// Next: interrupt.cc.
#pragma once

namespace fathom::cli {

/// From here on SIGINT and SIGTERM end the process with code 130.
void handle_interrupts();

/// While it lives, the first of them only sets interrupted(); a second one ends the process.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

bool interrupted();

}  // namespace fathom::cli
