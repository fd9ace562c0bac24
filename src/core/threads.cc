// ThreadPool: workers that spin for a moment after each region, then sleep on a condition variable.
#include "fathom/core/threads.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace fathom {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kSpins = 20000;  // about 50 us: longer than the serial work between two regions of a step
constexpr int kPolite = 2000;  // spins before the core is offered to others: a worker may be waiting for it
constexpr int kPartBits = 32;
constexpr uint64_t kPartMask = (uint64_t{1} << kPartBits) - 1;
constexpr int64_t kMaxParts = int64_t{1} << 31;  // leaves room for every thread to ask once too often

void pause(int spins) {
  if (spins % kPolite == kPolite - 1) return std::this_thread::yield();
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ThreadPool::Impl {
  using Fn = void (*)(void*, int64_t);

  // One region. `ticket` holds its number of parts in the upper half and the next part in the lower: a thread that
  // takes a part learns from the same word whether the part exists, and while it holds one the region cannot end. So
  // nobody waits for a worker that came too late to take a part, which is what keeps a crowded machine moving.
  Fn fn = nullptr;
  void* context = nullptr;
  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<int64_t> unfinished{0};
  alignas(64) std::atomic<uint64_t> generation{0};

  std::mutex mutex;
  std::condition_variable wake;
  int sleeping = 0;
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  void work_on_parts() {
    for (;;) {
      const uint64_t taken = ticket.fetch_add(1, std::memory_order_acquire);
      const uint64_t part = taken & kPartMask, parts = taken >> kPartBits;
      if (part >= parts) return;
      fn(context, static_cast<int64_t>(part));
      unfinished.fetch_sub(1, std::memory_order_release);
    }
  }

  // Waits until the generation differs from `seen` or the pool stops; spins first.
  void await_change(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      if (generation.load(std::memory_order_acquire) != seen || stop.load(std::memory_order_relaxed)) return;
      pause(i);
    }
    std::unique_lock lock(mutex);
    ++sleeping;
    wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen || stop.load(); });
    --sleeping;
  }

  void worker() {
    while (!stop.load()) {
      const uint64_t seen = generation.load(std::memory_order_acquire);
      work_on_parts();
      await_change(seen);
    }
  }

  void run_region(int64_t parts) {
    unfinished.store(parts, std::memory_order_relaxed);
    ticket.store(static_cast<uint64_t>(parts) << kPartBits, std::memory_order_release);
    bool any_asleep;
    {
      std::lock_guard lock(mutex);  // a worker between its last spin and its wait must not miss the bump
      generation.fetch_add(1, std::memory_order_release);
      any_asleep = sleeping > 0;
    }
    if (any_asleep) wake.notify_all();
    work_on_parts();
    for (int i = 0; unfinished.load(std::memory_order_acquire) != 0; i = (i + 1) % kPolite) pause(i);
  }

  ~Impl() {
    {
      std::lock_guard lock(mutex);
      stop.store(true);
    }
    wake.notify_all();
    for (std::thread& t : workers) t.join();
  }
};

ThreadPool::ThreadPool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ThreadPool::ThreadPool(ThreadPool&&) noexcept = default;
ThreadPool& ThreadPool::operator=(ThreadPool&&) noexcept = default;
ThreadPool::~ThreadPool() = default;

Result<ThreadPool> ThreadPool::make(int threads) {
  if (threads < 1 || threads > kMaxThreads) {
    return Error{ErrorCode::argument, "threads " + std::to_string(threads) + " is outside 1.." +
                                          std::to_string(kMaxThreads) + ": use the number of cores"};
  }
  auto impl = std::make_unique<Impl>();
  try {
    for (int i = 1; i < threads; ++i) impl->workers.emplace_back([p = impl.get()] { p->worker(); });
  } catch (const std::system_error& e) {
    return Error{ErrorCode::capacity, "thread " + std::to_string(impl->workers.size() + 2) + " of " +
                                          std::to_string(threads) + ": the system refused it (" + e.what() +
                                          "); use fewer threads"};
  }
  return ThreadPool(std::move(impl));
}

int ThreadPool::threads() const noexcept { return static_cast<int>(impl_->workers.size()) + 1; }

void ThreadPool::run(int64_t parts, void (*fn)(void*, int64_t), void* context) noexcept {
  Impl& pool = *impl_;
  if (parts <= 1 || pool.workers.empty()) {
    for (int64_t part = 0; part < parts; ++part) fn(context, part);
    return;
  }
  FATHOM_ASSERT(parts < kMaxParts);
  pool.fn = fn;
  pool.context = context;
  pool.run_region(parts);
}

}  // namespace fathom
