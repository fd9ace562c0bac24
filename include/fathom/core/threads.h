// ThreadPool: a fixed set of workers that spin briefly, then sleep. Made only where a caller asks for threads.
// Next in the flow: model/config.h.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"

namespace fathom {

/// Runs n independent parts on `threads` threads, the calling one included. One region at a time;
/// regions are started by one thread. Parts must not depend on which thread runs them.
class FATHOM_API ThreadPool {
 public:
  /// A pool of `threads` in total; 1 starts none.
  ///   errors   argument: threads outside 1..256; capacity: the system refused a thread
  static Result<ThreadPool> make(int threads);

  ThreadPool(ThreadPool&&) noexcept;
  ThreadPool& operator=(ThreadPool&&) noexcept;
  ~ThreadPool();

  int threads() const noexcept;

  /// Calls fn(context, part) for every part in [0, parts), each once, and returns when all are done.
  ///   cost     about one microsecond while the workers still spin
  void run(int64_t parts, void (*fn)(void* context, int64_t part), void* context) noexcept;

  /// The same for a callable by reference; it must not throw.
  template <class F>
  void run(int64_t parts, F&& f) noexcept {
    run(
        parts, [](void* context, int64_t part) { (*static_cast<std::remove_reference_t<F>*>(context))(part); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  struct Impl;
  explicit ThreadPool(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
