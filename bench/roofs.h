// The roofs of this machine, measured when they are asked for: how fast it reads memory, and how many operations it
// makes of bytes and of floats. Shared machines move within the hour, so every share of a roof is of the same minute.
// Next: roof.cc, which prints them; kernels.cc, which sets products beside them.
#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>

#include "fathom/core/tensor.h"
#include "fathom/core/threads.h"

namespace fathom::bench {

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The byte products of an instruction set: one instruction of four products a lane, or three of AVX2's.
enum class Isa { none, avx2, vnni };

/// The best of this machine.
inline Isa best_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni")) return Isa::vnni;
  if (__builtin_cpu_supports("avx2")) return Isa::avx2;
#endif
  return Isa::none;
}

inline const char* name(Isa isa) { return isa == Isa::vnni ? "vnni" : isa == Isa::avx2 ? "avx2" : "none"; }

/// The instruction set of that name, if this machine has it.
inline std::optional<Isa> isa_named(std::string_view text) {
  const Isa best = best_isa();
  if (text == "vnni" && best == Isa::vnni) return Isa::vnni;
  if (text == "avx2" && best != Isa::none) return Isa::avx2;
  return {};
}

/// The instruction set whose roof a kernel table stands under.
inline Isa isa_of_table(std::string_view table) {
  if (best_isa() == Isa::none) return Isa::none;
  const bool bytes = table == "cpu/avx512vnni" || table == "cpu/avx512bf16" || table == "cpu/amx";
  return bytes ? Isa::vnni : Isa::avx2;
}

/// Bytes of the vectors of a kernel table; 0 where no loop is written.
inline int vector_bytes(std::string_view table) {
  if (best_isa() == Isa::none || table == "cpu/scalar") return 0;
  return table == "cpu/avx2" ? 32 : 64;
}

namespace detail {

/// The sum of n words, a multiple of 8; asked for 4 KiB ahead, without which a plain loop reads a quarter slower.
inline uint64_t sum_words(const uint64_t* src, size_t n) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < n; i += 8) {
    __builtin_prefetch(src + i + 512);
    for (size_t k = 0; k < 8; ++k) sums[k] += src[i + k];
  }
  uint64_t total = 0;
  for (uint64_t s : sums) total += s;
  return total;
}

#if defined(__x86_64__)
constexpr int kChains = 10;  // hide a latency of five at two a cycle

/// kChains * n times 64 products and sums of bytes.
__attribute__((target("avx512f,avx512vnni"))) inline void vnni_products(int64_t n) {
  asm volatile("vpxord %%zmm10, %%zmm10, %%zmm10" ::: "xmm10");
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(
        "vpdpbusd %%zmm10, %%zmm10, %%zmm0\n vpdpbusd %%zmm10, %%zmm10, %%zmm1\n vpdpbusd %%zmm10, %%zmm10, %%zmm2\n"
        "vpdpbusd %%zmm10, %%zmm10, %%zmm3\n vpdpbusd %%zmm10, %%zmm10, %%zmm4\n vpdpbusd %%zmm10, %%zmm10, %%zmm5\n"
        "vpdpbusd %%zmm10, %%zmm10, %%zmm6\n vpdpbusd %%zmm10, %%zmm10, %%zmm7\n vpdpbusd %%zmm10, %%zmm10, %%zmm8\n"
        "vpdpbusd %%zmm10, %%zmm10, %%zmm9\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
  }
}

#define FATHOM_BENCH_CHAIN(acc)                                                                           \
  "vpmaddubsw %%ymm14, %%ymm14, %%ymm12\n vpmaddwd %%ymm15, %%ymm12, %%ymm12\n vpaddd %%ymm12, %%ymm" acc \
  ", %%ymm" acc "\n"

/// kChains * n times 32 products and sums of bytes: bytes to pairs of 16 bits, pairs to 32 bits, and the sum.
__attribute__((target("avx2"))) inline void avx2_products(int64_t n) {
  asm volatile("vpxor %%xmm14, %%xmm14, %%xmm14\n vpxor %%xmm15, %%xmm15, %%xmm15" ::: "xmm14", "xmm15");
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(FATHOM_BENCH_CHAIN("0") FATHOM_BENCH_CHAIN("1") FATHOM_BENCH_CHAIN("2") FATHOM_BENCH_CHAIN("3")
                     FATHOM_BENCH_CHAIN("4") FATHOM_BENCH_CHAIN("5") FATHOM_BENCH_CHAIN("6") FATHOM_BENCH_CHAIN("7")
                         FATHOM_BENCH_CHAIN("8") FATHOM_BENCH_CHAIN("9")::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm12");
  }
}
#undef FATHOM_BENCH_CHAIN

#define FATHOM_BENCH_CHAIN(v, acc) "vfmadd231ps %%" v "10, %%" v "10, %%" v acc "\n"
#define FATHOM_BENCH_CHAINS(v) \
  FATHOM_BENCH_CHAIN(v, "0")   \
  FATHOM_BENCH_CHAIN(v, "1")   \
  FATHOM_BENCH_CHAIN(v, "2")   \
  FATHOM_BENCH_CHAIN(v, "3")   \
  FATHOM_BENCH_CHAIN(v, "4")   \
  FATHOM_BENCH_CHAIN(v, "5")   \
  FATHOM_BENCH_CHAIN(v, "6") FATHOM_BENCH_CHAIN(v, "7") FATHOM_BENCH_CHAIN(v, "8") FATHOM_BENCH_CHAIN(v, "9")

/// kChains * n fused products and sums of f32 in each lane.
__attribute__((target("avx512f"))) inline void zmm_products(int64_t n) {
  asm volatile("vpxord %%zmm10, %%zmm10, %%zmm10" ::: "xmm10");
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(FATHOM_BENCH_CHAINS("zmm")::
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
  }
}
__attribute__((target("avx2,fma"))) inline void ymm_products(int64_t n) {
  asm volatile("vpxor %%xmm10, %%xmm10, %%xmm10" ::: "xmm10");
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(FATHOM_BENCH_CHAINS("ymm")::
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
  }
}
#undef FATHOM_BENCH_CHAINS
#undef FATHOM_BENCH_CHAIN

constexpr int kTileChains = 4, kTileProducts = 16 * 16 * 32;  // of bf16, in an instruction

/// kTileChains * n times kTileProducts products and sums of bf16. Only where kernels have asked for tiles already.
__attribute__((target("amx-tile,amx-bf16"))) inline void tile_products(int64_t n) {
  struct alignas(64) {
    uint8_t palette = 1, rest[15] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16};
  } shapes;
  asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory");
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(
        "tdpbf16ps %tmm4, %tmm5, %tmm0\n tdpbf16ps %tmm4, %tmm5, %tmm1\n tdpbf16ps %tmm4, %tmm5, %tmm2\n"
        "tdpbf16ps %tmm4, %tmm5, %tmm3\n");
  }
  asm volatile("tilerelease" ::: "memory");
}

/// kChains * n times 32 products and sums of bf16.
__attribute__((target("avx512f,avx512bf16"))) inline void pair_products(int64_t n) {
  asm volatile("vpxord %%zmm10, %%zmm10, %%zmm10" ::: "xmm10");
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(
        "vdpbf16ps %%zmm10, %%zmm10, %%zmm0\n vdpbf16ps %%zmm10, %%zmm10, %%zmm1\n vdpbf16ps %%zmm10, %%zmm10, %%zmm2\n"
        "vdpbf16ps %%zmm10, %%zmm10, %%zmm3\n vdpbf16ps %%zmm10, %%zmm10, %%zmm4\n vdpbf16ps %%zmm10, %%zmm10, %%zmm5\n"
        "vdpbf16ps %%zmm10, %%zmm10, %%zmm6\n vdpbf16ps %%zmm10, %%zmm10, %%zmm7\n vdpbf16ps %%zmm10, %%zmm10, %%zmm8\n"
        "vdpbf16ps %%zmm10, %%zmm10, %%zmm9\n" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9");
  }
}
#endif

/// Binds the calling thread to the n-th processor it may use.
inline void pin(int64_t n) {
  cpu_set_t allowed, own;
  CPU_ZERO(&own);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int64_t left = n % CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || left-- != 0) continue;
    CPU_SET(cpu, &own);
    sched_setaffinity(0, sizeof own, &own);
    return;
  }
}

}  // namespace detail

/// Gives each thread of the pool a processor of its own, for good: a program that only measures roofs ends before a
/// busy system would have spread them.
inline void pin_threads(ThreadPool& pool) {
  std::atomic<int> arrived{0};
  const int n = pool.threads();
  pool.run(n, [&](int64_t part) {
    arrived.fetch_add(1);
    while (arrived.load() < n) std::this_thread::yield();  // so that every thread has one part
    detail::pin(part);
  });
}

constexpr double kMeasureSeconds = 0.2;  // of one roof

/// Bytes a second that the pool's threads read together, in huge pages. The best stretch of 16 MiB counts: on a shared
/// machine a core is taken away for milliseconds, and a median over kernels does not see that either.
inline double memory_roof(ThreadPool& pool) {
  constexpr size_t kBytes = size_t{256} << 20, kStretch = size_t{16} << 20, kPart = size_t{256} << 10;
  static const Buffer memory = [] {  // several times any last-level cache's share
    Buffer buffer(kBytes);
    std::memset(buffer.data(), 1, buffer.size());
    return buffer;
  }();
  double best = 0;
  size_t at = 0;
  for (const auto begin = Clock::now(); seconds_since(begin) < kMeasureSeconds; at = (at + kStretch) % kBytes) {
    const auto stretch = Clock::now();
    pool.run(kStretch / kPart, [&](int64_t part) {
      const uint64_t* src = memory.as<uint64_t>() + (at + static_cast<size_t>(part) * kPart) / 8;
      const uint64_t sum = detail::sum_words(src, kPart / 8);
      asm volatile("" ::"r"(sum));
    });
    best = std::max(best, static_cast<double>(kStretch) / seconds_since(stretch));
  }
  return best;
}

/// Operations a second (a product and its sum are two) of the pool's threads, `lanes` chains of them in a step of
/// `loop`.
inline double operations_roof(ThreadPool& pool, int lanes, void (*loop)(int64_t steps)) {
  constexpr int64_t kSteps = 1 << 14, kParts = 4;  // of a thread: about 50 us each
  const int64_t parts = kParts * pool.threads();
  const auto operations = 2.0 * static_cast<double>(kSteps * parts * lanes);
  double best = 0;
  for (const auto begin = Clock::now(); seconds_since(begin) < kMeasureSeconds;) {
    const auto stretch = Clock::now();
    pool.run(parts, [&](int64_t) { loop(kSteps); });
    best = std::max(best, operations / seconds_since(stretch));
  }
  return best;
}

/// Of bytes; 0 where no loop is written.
inline double int8_roof([[maybe_unused]] ThreadPool& pool, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::vnni) return operations_roof(pool, detail::kChains * 64, detail::vnni_products);
  if (isa == Isa::avx2) return operations_roof(pool, detail::kChains * 32, detail::avx2_products);
#endif
  return 0;
}

/// Of f32 in vectors of so many bytes; 0 where no loop is written.
inline double f32_roof([[maybe_unused]] ThreadPool& pool, [[maybe_unused]] int vector_bytes) {
#if defined(__x86_64__)
  if (vector_bytes == 64) return operations_roof(pool, detail::kChains * 16, detail::zmm_products);
  if (vector_bytes == 32) return operations_roof(pool, detail::kChains * 8, detail::ymm_products);
#endif
  return 0;
}

/// Of bf16 by the kernels of a table, which widens them to f32 where nothing multiplies them.
inline double bf16_roof([[maybe_unused]] ThreadPool& pool, [[maybe_unused]] std::string_view table) {
#if defined(__x86_64__)
  if (table == "cpu/amx") {
    return operations_roof(pool, detail::kTileChains * detail::kTileProducts, detail::tile_products);
  }
  if (table == "cpu/avx512bf16") return operations_roof(pool, detail::kChains * 32, detail::pair_products);
#endif
  return f32_roof(pool, vector_bytes(table));
}

}  // namespace fathom::bench
