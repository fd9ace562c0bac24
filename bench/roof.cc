// The memory's roof: how fast this machine reads, so that rates of models can be given as a share of it.
// One JSON line: GB/s of one and of all asked threads, the best of several passes over 512 MiB.
// Next: peers/throughput.py, which uses it.
//   ./dev bench roof [--threads=2]
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr size_t kBytes = size_t{512} << 20;  // far beyond any last-level cache here
constexpr int kPasses = 8;

constexpr size_t kAhead = 4096;  // bytes asked for in advance

// Sums n words, a multiple of 8.
uint64_t sum(const uint64_t* src, size_t n) {
  uint64_t acc[8] = {};
  for (size_t i = 0; i < n; i += 8) {
    __builtin_prefetch(src + i + kAhead / sizeof(uint64_t));
    for (size_t k = 0; k < 8; ++k) acc[k] += src[i + k];
  }
  uint64_t total = 0;
  for (uint64_t a : acc) total += a;
  return total;
}

// One processor for each thread: a pass ends before the system would have spread them.
void pin(unsigned thread) {
  cpu_set_t allowed, own;
  CPU_ZERO(&own);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  unsigned left = thread % unsigned(CPU_COUNT(&allowed));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || left-- != 0) continue;
    CPU_SET(cpu, &own);
    sched_setaffinity(0, sizeof own, &own);
    return;
  }
}

double gigabytes_per_second(const uint64_t* src, size_t n_words, unsigned n_threads, uint64_t* sink) {
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::vector<uint64_t> sums(size_t{n_threads} * 8);  // a cache line each
    std::vector<std::thread> threads;
    const size_t share = n_words / n_threads / 8 * 8;
    const auto begin = std::chrono::steady_clock::now();
    for (unsigned t = 0; t < n_threads; ++t) {
      threads.emplace_back([=, &sums] {
        pin(t);
        sums[size_t{t} * 8] = sum(src + t * share, share);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, double(share * n_threads) * 8 / seconds.count() / 1e9);
    for (uint64_t s : sums) *sink += s;
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned n_threads = std::max(1U, std::thread::hardware_concurrency());
  constexpr std::string_view kOption = "--threads=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    const int value = arg.substr(0, kOption.size()) == kOption ? std::atoi(argv[i] + kOption.size()) : 0;
    if (value < 1 || value > 1024) {
      std::fprintf(stderr, "bench_roof: '%s' is no option: give --threads=N, N from 1 to 1024\n", argv[i]);
      return 2;
    }
    n_threads = unsigned(value);
  }
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "bench_roof: %zu bytes could not be had: free some memory\n", kBytes);
    return 1;
  }
  madvise(memory, kBytes, MADV_HUGEPAGE);
  std::memset(memory, 1, kBytes);
  uint64_t sink = 0;
  const auto* words = static_cast<const uint64_t*>(memory);
  const double one = gigabytes_per_second(words, kBytes / 8, 1, &sink);
  const double all = gigabytes_per_second(words, kBytes / 8, n_threads, &sink);
  std::printf("{\"one_thread_gb_per_s\": %.1f, \"threads\": %u, \"gb_per_s\": %.1f, \"checksum\": %llu}\n", one,
              n_threads, all, static_cast<unsigned long long>(sink));
  return 0;
}
