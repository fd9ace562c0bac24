// Products of the real models' shapes on every instruction set of this machine, each compared with the specification
// before it is timed: time, bytes, operations and the share of both roofs, which are measured here, next to each case,
// because shared machines drift. Next: roofline.py, which draws them.
// Names: linear/ROWSxCOLS/TYPE/BACKEND/n:ROWS/threads:T. Filter with --benchmark_filter.
//   ./dev bench kernels [--threads=2] [--benchmark_filter=REGEX] [--benchmark_format=json]
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/roofs.h"
#include "fathom/model/model_file.h"
#include "fathom/ops/linear.h"
#include "kernels/abi.h"
#include "tests/kernels/linear_case.h"

namespace fathom {
namespace {

using bench::Clock;
using bench::seconds_since;
using testing::LinearCase;

constexpr size_t kColdBytes = size_t{192} << 20;  // weights of one case, several times any last-level cache's share

struct Shape {
  DType type;
  int64_t rows, cols;
  bool plain() const { return info(type).block_elements == 1; }
};

/// A shape on one numeric path of one table; plain types are the same on `fast` and `faithful`.
struct Product {
  Shape shape;
  const KernelTable* table;
  Numerics numerics;
};

constexpr Shape kShapes[] = {
    {DType::q5_0, 2048, 640},  {DType::q8_0, 262144, 640}, {DType::q6_k, 640, 2048},    {DType::q4_k, 640, 2048},
    {DType::q5_0, 4864, 896},  {DType::q5_0, 896, 896},    {DType::q6_k, 896, 4864},    {DType::q8_0, 151936, 896},
    {DType::q4_k, 8960, 1536}, {DType::q4_k, 1536, 8960},  {DType::q6_k, 151936, 1536}, {DType::q4_0, 4096, 4096},
    {DType::q5_k, 4096, 4096}, {DType::f16, 1024, 1024},   {DType::bf16, 1024, 1024},   {DType::f32, 384, 384},
    {DType::f32, 1536, 384},   {DType::f32, 384, 1536},    {DType::q8_0, 1536, 384},    {DType::q8_0, 384, 1536},
};
constexpr int64_t kRows[] = {1, 2, 4, 8, 16, 64, 512};

Tensor tensor_of(const LinearCase& c, int64_t first, int64_t rows) {
  return {"bench", c.matrix.type, rows, c.matrix.cols, reinterpret_cast<const std::byte*>(c.row(first))};
}

Activations activations_of(LinearCase& c) { return {c.src.data(), c.quant(), c.src_bf16.data()}; }

std::string case_name(const Product& p) {
  std::string type(info(p.shape.type).name);
  for (char& c : type) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return "linear/" + std::to_string(p.shape.rows) + "x" + std::to_string(p.shape.cols) + "/" + type + "/" +
         p.table->name + "/" + std::string(name_of(p.numerics));
}

/// The case of a shape, packed for a table often enough that reading the copies in turn comes from memory.
struct Packed {
  LinearCase declared;
  std::vector<Linear> copies;
  std::vector<Buffer> memory;

  Packed(const Product& p, ThreadPool& pool)
      : declared(p.shape.type, p.shape.rows, p.shape.cols, *std::max_element(std::begin(kRows), std::end(kRows)), 1,
                 testing::Fill::random, p.numerics) {
    const Tensor tensor = tensor_of(declared, 0, p.shape.rows);
    const KernelTable* tables[] = {p.table};
    const size_t n = std::max<size_t>(1, kColdBytes / declared.weights.size());
    for (size_t i = 0; i < n; ++i) {
      copies.push_back(plan_linear(tensor, tables, p.numerics).value());
      memory.emplace_back(copies.back().packed_bytes);
      pack_linear(copies.back(), tensor, memory.back().data(), pool);
    }
  }
};

/// The packed case that runs; those of one product follow one another.
Packed& packed_of(const Product& product, ThreadPool& pool) {
  static std::string held;
  static std::unique_ptr<Packed> packed;
  const std::string name = case_name(product);
  if (held != name) {
    packed.reset();
    packed = std::make_unique<Packed>(product, pool);
    held = name;
  }
  return *packed;
}

// ---- parity -----------------------------------------------------------------------------------------------------

/// Ends the program where outputs [first, first + n_outputs) of all n rows are not those of the specification.
void check_outputs(LinearCase& c, const std::vector<float>& got, int64_t n, int64_t first, int64_t n_outputs,
                   ThreadPool& pool, const std::string& name) {
  const KernelTable* tables[] = {&kernels::ref()};
  const Tensor tensor = tensor_of(c, first, n_outputs);
  const bool floats = c.plain() && c.numerics != Numerics::bf16;
  Linear reference = plan_linear(tensor, tables, floats ? Numerics::exact : c.numerics).value();
  const Buffer memory(reference.packed_bytes);
  pack_linear(reference, tensor, memory.data(), pool);
  std::vector<float> want(static_cast<size_t>(n * n_outputs));
  const LinearJob job{&reference, n, want.data(), n_outputs};
  linear(pool, activations_of(c), {&job, 1});
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t o = 0; o < n_outputs; ++o) {
      const double x = got[static_cast<size_t>(r * c.matrix.rows + first + o)];
      const double y = want[static_cast<size_t>(r * n_outputs + o)], bound = testing::reference_bound(c, r, first + o);
      if (std::abs(x - y) <= bound) continue;
      std::fprintf(stderr, "bench_kernels: %s: output %lld of row %lld is %.9g, the specification says %.9g +- %.2g\n",
                   name.c_str(), static_cast<long long>(first + o), static_cast<long long>(r), x, y, bound);
      std::exit(1);
    }
  }
}

/// The first, middle and last outputs of all rows: the specification takes too long for all.
void check_parity(Packed& packed, int64_t n, ThreadPool& pool, const std::string& name) {
  LinearCase& c = packed.declared;
  std::vector<float> got(static_cast<size_t>(n * c.matrix.rows));
  const LinearJob job{&packed.copies[0], n, got.data(), c.matrix.rows};
  linear(pool, activations_of(c), {&job, 1});
  constexpr int64_t kOutputs = 8;
  for (int64_t first : {int64_t{0}, c.matrix.rows / 2, c.matrix.rows - kOutputs})
    check_outputs(c, got, n, first, kOutputs, pool, name);
}

// ---- time -------------------------------------------------------------------------------------------------------

/// The roof a product stands under, and what its share is called.
std::pair<double, const char*> roof_of(Activation reads, std::string_view table, ThreadPool& pool) {
  if (reads == Activation::f32) return {bench::f32_roof(pool, bench::vector_bytes(table)), "of_f32"};
  if (reads == Activation::bf16) return {bench::bf16_roof(pool, table), "of_bf16"};
  return {bench::int8_roof(pool, bench::isa_of_table(table)), "of_int8"};
}

void run_case(benchmark::State& state, const Product& product, int64_t n, ThreadPool& pool) {
  const Shape& shape = product.shape;
  static std::map<std::string, double> one_row;  // seconds
  static std::string checked;
  Packed& packed = packed_of(product, pool);
  const std::string name = case_name(product);
  const std::string with_rows = name + "/n:" + std::to_string(n);
  if (checked != with_rows) check_parity(packed, n, pool, with_rows);
  checked = with_rows;
  std::vector<float> dst(static_cast<size_t>(n * shape.rows));
  const Activations src = activations_of(packed.declared);
  const double before = bench::memory_roof(pool);
  const auto [roof, share] = roof_of(packed.copies[0].kernel->activation, product.table->name, pool);
  size_t copy = 0;
  std::vector<double> times;
  for (auto _ : state) {
    const auto begin = Clock::now();
    const LinearJob job{&packed.copies[copy], n, dst.data(), shape.rows};
    linear(pool, src, {&job, 1});
    copy = (copy + 1) % packed.copies.size();
    times.push_back(seconds_since(begin));
  }
  std::sort(times.begin(), times.end());
  const double each = times[times.size() / 2];  // median: other programs may hold a core for some calls
  const double memory = (before + bench::memory_roof(pool)) / 2;
  const auto bytes = static_cast<double>(packed.copies[0].packed_bytes);
  const double operations = 2.0 * static_cast<double>(n * shape.rows * shape.cols);
  if (n == 1) one_row[name] = each;
  state.counters["bytes"] = bytes;
  state.counters["operations"] = operations;
  state.counters["GB/s"] = bytes / each / 1e9;
  state.counters["fastest_GB/s"] = bytes / times.front() / 1e9;
  state.counters["Gop/s"] = operations / each / 1e9;
  state.counters["roof_GB/s"] = memory / 1e9;
  state.counters["of_memory"] = bytes / each / memory;
  if (roof > 0) {
    state.counters["roof_Gop/s"] = roof / 1e9;
    state.counters[share] = operations / each / roof;
  }
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
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  auto pool = ThreadPool::make(threads);
  if (!pool) return std::fprintf(stderr, "%s\n", pool.error().message.c_str()), 2;
  int32_t n_tables = 0;
  const KernelTable* const* tables = kernels::cpu(&n_tables);
  std::vector<Product> products;
  for (int32_t t = 0; t < n_tables; ++t) {
    for (const Shape& shape : kShapes) {
      products.push_back({shape, tables[t], Numerics::fast});
      products.push_back({shape, tables[t], shape.plain() ? Numerics::bf16 : Numerics::faithful});
    }
  }
  for (const Product& product : products) {
    for (int64_t n : kRows) {
      const std::string name = case_name(product) + "/n:" + std::to_string(n) + "/threads:" + std::to_string(threads);
      benchmark::RegisterBenchmark(
          name.c_str(), [&product, n, &pool](benchmark::State& state) { run_case(state, product, n, *pool); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
  if (benchmark::RunSpecifiedBenchmarks() > 0) return 0;
  std::fprintf(stderr, "bench_kernels: no case has that name: --benchmark_list_tests lists them\n");
  return 2;
}
