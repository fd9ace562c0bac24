// Attention and row kernels at the sizes of real models, against the machine's measured memory roof.
// Names: op/shape/dtype/backend; the shape of attention is heads x kv_heads x head_dim @ cells. One iteration is a
// layer.
#include "fathom/ops/attention.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstring>
#include <random>
#include <vector>

#include "bench/roofs.h"
#include "kernels/abi.h"

namespace fathom {
namespace {

constexpr int kMaxThreads = 2;

ThreadPool& pool(int threads) {
  static ThreadPool one = ThreadPool::make(1).value(), two = ThreadPool::make(kMaxThreads).value();
  return threads == 1 ? one : two;
}

std::vector<float> normal(size_t n) {
  std::mt19937 engine(1);
  std::normal_distribution<float> distribution;
  std::vector<float> x(n);
  for (float& v : x) v = distribution(engine);
  return x;
}

struct Shape {
  int64_t heads, kv_heads, dim, cells, rows, layers;
  bool whole = false;  // every row sees all cells; else the last does, and each the cells up to its own
};

/// Caches of several layers, so that decode reads memory and not the processor's caches.
class Layers {
 public:
  Layers(const Shape& s, DType type) : row_bytes_(static_cast<size_t>(s.kv_heads * s.dim * info(type).block_bytes)) {
    const int64_t n_pages = (s.cells + kPageCells - 1) / kPageCells;
    const size_t page_bytes = row_bytes_ * kPageCells;
    memory_ = Buffer(static_cast<size_t>(s.layers * n_pages) * page_bytes * 2);
    pages_.resize(static_cast<size_t>(s.layers * n_pages));
    const auto k = normal(static_cast<size_t>(s.kv_heads * s.dim)), v = normal(k.size());
    for (size_t p = 0; p < pages_.size(); ++p) {
      std::byte* at = memory_.data() + p * page_bytes * 2;
      pages_[p] = {at, at + page_bytes, ~uint64_t{0}};
      for (int32_t c = 0; c < kPageCells; ++c) {
        const KvCell cell{&pages_[p], c};
        kernels::ref().kv_write.run({type, k.data(), v.data(), s.kv_heads, s.dim, &cell}, 0, 1);
      }
    }
    for (KvPage& page : pages_) pointers_.push_back(&page);
    n_pages_ = static_cast<size_t>(n_pages);
  }

  const KvPage* const* pages(int64_t layer) const { return pointers_.data() + static_cast<size_t>(layer) * n_pages_; }

 private:
  size_t row_bytes_, n_pages_ = 0;
  Buffer memory_;
  std::vector<KvPage> pages_;
  std::vector<const KvPage*> pointers_;
};

/// `rows` rows of a sequence; one iteration is one layer.
void run_attention(benchmark::State& state, const KernelTable& table, const Shape& s, DType type, int threads) {
  const Layers layers(s, type);
  const auto q = normal(static_cast<size_t>(s.rows * s.heads * s.dim));
  std::vector<float> dst(q.size());
  std::vector<AttentionRow> rows(static_cast<size_t>(s.rows));
  const auto plan = AttentionPlan::make({threads, s.heads, s.kv_heads, s.dim, s.cells}).value();
  const AttentionArgs args{type, q.data(), rows.data(), s.heads, s.kv_heads, s.dim, 0.125f, dst.data()};
  int64_t layer = 0, cells = 0;
  for (auto _ : state) {
    for (int64_t r = 0; r < s.rows; ++r) {
      const int64_t end = s.whole ? s.cells : s.cells - s.rows + r + 1;
      rows[static_cast<size_t>(r)] = {layers.pages(layer), 0, static_cast<int32_t>(end)};
      cells += rows[static_cast<size_t>(r)].end;
    }
    attention(pool(threads), table, args, s.rows, plan);
    benchmark::DoNotOptimize(dst.data());
    layer = (layer + 1) % s.layers;
  }
  const auto iterations = static_cast<double>(state.iterations());
  const double bytes = iterations * static_cast<double>(s.cells * s.kv_heads * s.dim * 2 * info(type).block_bytes);
  const double operations = 4.0 * static_cast<double>(cells) * static_cast<double>(s.heads * s.dim);
  if (s.rows == 1) {
    state.counters["bytes"] = benchmark::Counter(bytes, benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
    state.counters["roof"] = benchmark::Counter(bytes / bench::memory_roof(pool(threads)), benchmark::Counter::kIsRate);
  }
  state.counters["flop"] = benchmark::Counter(operations, benchmark::Counter::kIsRate, benchmark::Counter::kIs1000);
}

/// One row of a kernel on one thread.
template <class Args>
void run_rows(benchmark::State& state, RowKernel<Args> kernel, Args args) {
  for (auto _ : state) {
    kernel.run(args, 0, 1);
    benchmark::ClobberMemory();
  }
}

void add_attention(const char* op, const KernelTable& table, const Shape& s, DType type) {
  for (int threads = 1; threads <= kMaxThreads; ++threads) {
    const auto name = fmt::format("{}/{}x{}x{}@{}/{}/{}/threads:{}", op, s.heads, s.kv_heads, s.dim, s.cells,
                                  type == DType::f16 ? "f16" : "f32", table.name, threads);
    const auto run = [=, &table](benchmark::State& state) { run_attention(state, table, s, type, threads); };
    benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Unit(benchmark::kMicrosecond);
  }
}

template <class Args>
void add_rows(const char* op, int64_t cols, const KernelTable& table, RowKernel<Args> KernelTable::*entry, Args args) {
  const auto name = fmt::format("{}/{}/f32/{}", op, cols, table.name);
  const auto run = [=, &table](benchmark::State& state) { run_rows(state, table.*entry, args); };
  benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMicrosecond);
}

/// The row kernels of a model with states of d, feed-forward blocks of ff and `vocab` tokens.
void add_row_kernels(const KernelTable& t, int64_t d, int64_t ff, int64_t vocab) {
  constexpr size_t kLargest = 1 << 18;
  static const std::vector<float> a = normal(kLargest), b = normal(kLargest);
  static std::vector<float> dst(kLargest);
  static std::vector<int8_t> values(kLargest);
  static std::vector<int32_t> sums(kLargest);
  static LogitStats stats;
  const QuantRows q8{values.data(), dst.data(), sums.data(), ff};
  add_rows<NormArgs>("norm", d, t, &KernelTable::norm, {a.data(), nullptr, d, b.data(), 1e-6f, dst.data()});
  add_rows<SimilarityArgs>("similarity", d, t, &KernelTable::similarity, {a.data(), nullptr, b.data(), d, dst.data()});
  add_rows<QuantizeArgs>("quantize", ff, t, &KernelTable::quantize, {a.data(), ff, q8});
  for (Gate gate : {Gate::silu, Gate::gelu_tanh}) {
    const char* op = gate == Gate::silu ? "silu" : "gelu_tanh";
    add_rows<GatedArgs>(op, ff, t, &KernelTable::gated, {gate, a.data(), b.data(), ff, dst.data()});
  }
  add_rows<LogitStatsArgs>("logit_stats", vocab, t, &KernelTable::logit_stats, {a.data(), vocab, &stats});
}

/// Attention of gemma3-270m, qwen2.5-coder-0.5b and qwen2.5-coder-1.5b, and of minilm-l6 over whole texts.
void add_attentions(const KernelTable& t) {
  for (const Shape& s :
       {Shape{4, 1, 256, 4096, 1, 18}, Shape{14, 2, 64, 4096, 1, 24}, Shape{12, 2, 128, 4096, 1, 28}}) {
    for (DType type : {DType::f16, DType::f32}) add_attention("attention_decode", t, s, type);
  }
  for (const Shape& s :
       {Shape{4, 1, 256, 512, 512, 1}, Shape{14, 2, 64, 512, 512, 1}, Shape{12, 2, 128, 512, 512, 1}}) {
    add_attention("attention_prefill", t, s, DType::f16);
  }
  for (int64_t cells : {32, 128, 512}) {
    add_attention("attention_text", t, {12, 12, 32, cells, cells, 1, true}, DType::f32);
  }
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  using namespace fathom;
  int32_t n = 0;
  const KernelTable* const* tables = kernels::cpu(&n);
  for (int32_t i = 0; i < n; ++i) {
    add_attentions(*tables[i]);
    add_row_kernels(*tables[i], 640, 2048, 262144);
    add_row_kernels(*tables[i], 896, 4864, 151936);
    add_row_kernels(*tables[i], 1536, 8960, 151936);
  }
  for (int threads = 1; threads <= kMaxThreads; ++threads) {
    benchmark::AddCustomContext(fmt::format("memory_roof/threads:{}", threads),
                                fmt::format("{:.1f} GB/s", bench::memory_roof(pool(threads)) * 1e-9));
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
