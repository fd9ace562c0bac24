// Products of the real models' shapes on every instruction set of this machine: time, bytes, share of the memory's and
// of the byte dot product's roof. Both roofs are measured here, next to each case, because shared machines drift.
// Names: linear/ROWSxCOLS/TYPE/BACKEND/n:ROWS/threads:T. Filter with --benchmark_filter.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fathom/ops/linear.h"
#include "kernels/abi.h"
#include "kernels/ref/half.h"

#if defined(__x86_64__)
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace fathom {
namespace {

constexpr size_t kColdBytes = size_t{192} << 20;  // weights of one case, several times any last-level cache's share

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// ---- roofs
// -------------------------------------------------------------------------------------------------------------

uint64_t sum_words(const uint64_t* p, size_t n) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < n; i += 8) {
    __builtin_prefetch(p + i + 512);  // 4 KiB ahead: a plain loop reads a quarter slower
    for (size_t j = 0; j < 8; ++j) sums[j] += p[i + j];
  }
  uint64_t sum = 0;
  for (uint64_t s : sums) sum += s;
  return sum;
}

/// Bytes a second that all threads of the pool read together.
double memory_roof(ThreadPool& pool) {
  static const Buffer memory = [] {
    Buffer b(kColdBytes);
    std::memset(b.data(), 1, b.size());
    return b;
  }();
  constexpr size_t kStretch = size_t{8} << 20, kPart = size_t{256} << 10;
  double best = 0;  // the fastest stretch: other programs may hold a core for the rest
  for (size_t at = 0; at < kColdBytes; at += kStretch) {
    const double begin = seconds();
    pool.run(kStretch / kPart, [&](int64_t part) {
      const size_t first = at + static_cast<size_t>(part) * kPart;
      benchmark::DoNotOptimize(sum_words(memory.as<uint64_t>() + first / 8, kPart / 8));
    });
    best = std::max(best, static_cast<double>(kStretch) / (seconds() - begin));
  }
  return best;
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) void dot_products(int64_t n) {
  const __m512i a = _mm512_set1_epi8(1);
  __m512i s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{}, s8{}, s9{};  // ten hide the latency of five, two a cycle
  for (int64_t i = 0; i < n; ++i) {
    asm volatile(
        "vpdpbusd %10, %10, %0\n vpdpbusd %10, %10, %1\n vpdpbusd %10, %10, %2\n vpdpbusd %10, %10, %3\n"
        "vpdpbusd %10, %10, %4\n vpdpbusd %10, %10, %5\n vpdpbusd %10, %10, %6\n vpdpbusd %10, %10, %7\n"
        "vpdpbusd %10, %10, %8\n vpdpbusd %10, %10, %9\n"
        : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9)
        : "v"(a));
  }
}

/// Operations a second of vpdpbusd on all threads; 0 where the machine has none.
double int8_roof(ThreadPool& pool) {
  if (!__builtin_cpu_supports("avx512vnni")) return 0;
  constexpr int64_t kSteps = 400000;
  const double begin = seconds();
  pool.run(pool.threads(), [](int64_t) { dot_products(kSteps); });
  return static_cast<double>(kSteps * pool.threads()) * 10 * 128 / (seconds() - begin);
}
#else
double int8_roof(ThreadPool&) { return 0; }
#endif

// ---- cases
// -------------------------------------------------------------------------------------------------------------

struct Shape {
  DType type;
  int64_t rows, cols;
};

constexpr Shape kShapes[] = {
    {DType::q5_0, 2048, 640},  {DType::q8_0, 262144, 640}, {DType::q6_k, 640, 2048},    {DType::q4_k, 640, 2048},
    {DType::q5_0, 4864, 896},  {DType::q5_0, 896, 896},    {DType::q6_k, 896, 4864},    {DType::q8_0, 151936, 896},
    {DType::q4_k, 8960, 1536}, {DType::q4_k, 1536, 8960},  {DType::q6_k, 151936, 1536}, {DType::q4_0, 4096, 4096},
    {DType::q5_k, 4096, 4096}, {DType::f16, 1024, 1024},   {DType::bf16, 1024, 1024},   {DType::f32, 1024, 1024},
};
constexpr int64_t kRows[] = {1, 2, 4, 8, 16, 64, 512};

/// Copies of one matrix, enough that reading them in turn comes from memory.
struct Weights {
  std::vector<Linear> copies;
  std::vector<Buffer> memory;
  Weights(const Shape& shape, const KernelTable& table, ThreadPool& pool) {
    std::mt19937 random(1);
    std::vector<uint8_t> file(static_cast<size_t>(shape.rows) * row_bytes(shape.type, static_cast<size_t>(shape.cols)));
    for (size_t i = 0; i + 4 <= file.size(); i += 4) {
      const auto word = static_cast<uint32_t>(random()) & 0x2FFF2FFFu;  // no exponent of infinity in any float field
      std::memcpy(&file[i], &word, 4);
    }
    const Tensor tensor{"bench", shape.type, shape.rows, shape.cols, reinterpret_cast<const std::byte*>(file.data())};
    const KernelTable* tables[] = {&table};
    const size_t n = std::max<size_t>(1, kColdBytes / file.size());
    for (size_t i = 0; i < n; ++i) {
      copies.push_back(plan_linear(tensor, tables, Numerics::fast).value());
      memory.emplace_back(copies.back().packed_bytes);
      pack_linear(copies.back(), tensor, memory.back().data(), pool);
    }
  }
};

struct Rows {
  std::vector<float> f32, scales;
  std::vector<int8_t> values;
  std::vector<int32_t> sums;
  Rows(int64_t n, int64_t cols)
      : f32(static_cast<size_t>(n * cols), 0.5f),
        scales(static_cast<size_t>(n * cols / kQuantBlock), 0.01f),
        values(static_cast<size_t>(n * cols), 3),
        sums(static_cast<size_t>(n * cols / kSumBlock), 3 * kSumBlock) {}
  Activations view(int64_t cols) { return {f32.data(), {values.data(), scales.data(), sums.data(), cols}}; }
};

std::string case_name(const Shape& s, const KernelTable& table) {
  std::string type(info(s.type).name);
  for (char& c : type) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return "linear/" + std::to_string(s.rows) + "x" + std::to_string(s.cols) + "/" + type + "/" + table.name;
}

/// Weights of the case that runs; cases of one shape follow one another.
const Weights& weights_of(const Shape& shape, const KernelTable& table, ThreadPool& pool) {
  static std::string held;
  static std::unique_ptr<Weights> weights;
  const std::string name = case_name(shape, table);
  if (held != name) {
    weights.reset();
    weights = std::make_unique<Weights>(shape, table, pool);
    held = name;
  }
  return *weights;
}

void run_case(benchmark::State& state, const Shape& shape, const KernelTable& table, int64_t n, ThreadPool& pool) {
  const Weights& weights = weights_of(shape, table, pool);
  Rows rows(n, shape.cols);
  std::vector<float> dst(static_cast<size_t>(n * shape.rows));
  const Activations src = rows.view(shape.cols);
  const double roof = memory_roof(pool), int8 = int8_roof(pool);
  size_t copy = 0;
  std::vector<double> times;
  for (auto _ : state) {
    const double begin = seconds();
    const LinearJob job{&weights.copies[copy], n, dst.data(), shape.rows};
    linear(pool, src, {&job, 1});
    copy = (copy + 1) % weights.copies.size();
    times.push_back(seconds() - begin);
  }
  std::sort(times.begin(), times.end());
  const double each = times[times.size() / 2];  // median: other programs may hold a core for some calls
  const double roof_after = memory_roof(pool);
  const auto bytes = static_cast<double>(weights.copies[0].packed_bytes);
  const double operations = 2.0 * static_cast<double>(n * shape.rows * shape.cols);
  static std::map<std::string, double> one_row;
  const std::string name = case_name(shape, table) + std::to_string(pool.threads());
  if (n == 1) one_row[name] = each;
  state.counters["GB/s"] = bytes / each / 1e9;
  state.counters["fastest_GB/s"] = bytes / times.front() / 1e9;
  state.counters["roof_GB/s"] = (roof + roof_after) / 2e9;
  state.counters["of_memory"] = bytes / each / ((roof + roof_after) / 2);
  state.counters["Gop/s"] = operations / each / 1e9;
  if (int8 > 0) state.counters["of_int8"] = operations / each / int8;
  if (one_row.count(name) != 0) state.counters["x_one_row"] = each / one_row[name];
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  using namespace fathom;
  int threads = 2;  // of the pool; --threads=N, before Google Benchmark's own options
  if (argc > 1 && std::strncmp(argv[1], "--threads=", 10) == 0) {
    threads = std::atoi(argv[1] + 10);
    argv[1] = argv[0];
    ++argv, --argc;
  }
  benchmark::Initialize(&argc, argv);
  auto pool = ThreadPool::make(threads);
  if (!pool) return std::fprintf(stderr, "%s\n", pool.error().message.c_str()), 2;
  int32_t n_tables = 0;
  const KernelTable* const* tables = kernels::cpu(&n_tables);
  for (int32_t t = 0; t < n_tables; ++t) {
    for (const Shape& shape : kShapes) {
      for (int64_t n : kRows) {
        const std::string name =
            case_name(shape, *tables[t]) + "/n:" + std::to_string(n) + "/threads:" + std::to_string(threads);
        const KernelTable* table = tables[t];
        benchmark::RegisterBenchmark(
            name.c_str(),
            [&shape, table, n, &pool](benchmark::State& state) { run_case(state, shape, *table, n, *pool); })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
