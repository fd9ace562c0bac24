// The handler of SIGINT and SIGTERM, and its flags. Next: generate.cc, which asks between tokens.
#include "src/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include "src/cli/command.h"

namespace fathom::cli {
namespace {

volatile sig_atomic_t guarded = 0;
volatile sig_atomic_t came = 0;

void on_interrupt(int) {
  if (guarded == 0 || came != 0) _exit(kInterrupted);
  came = 1;
}

}  // namespace

void handle_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

InterruptGuard::InterruptGuard() {
  came = 0;
  guarded = 1;
}

InterruptGuard::~InterruptGuard() { guarded = 0; }

bool interrupted() { return came != 0; }

}  // namespace fathom::cli
