// The head in two parts against the plain one: the product over both parts and the screen alone, on random heads of the
// real models' shapes; and with --model the screened head on that model's own states for every text, one row at a time,
// next to the whole product of the same row.
// Names: head/ROWSxCOLS/TYPE/BACKEND/PATH/WHAT/n:ROWS, and screened/TEXT/RULE/BACKEND.
//   ./dev bench head [--threads=2] [--model=FILE.gguf --text=FILE...] [--benchmark_filter=REGEX]
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "bench/roofs.h"
#include "fathom/engine/session.h"
#include "fathom/head/screened_head.h"
#include "kernels/abi.h"
#include "tests/kernels/linear_case.h"

namespace fathom {
namespace {

using bench::Clock;
using bench::seconds_since;
using testing::LinearCase;

struct Shape {
  DType type;
  int64_t rows, cols;
};
constexpr Shape kShapes[] = {
    {DType::q8_0, 262144, 640}, {DType::q8_0, 151936, 896}, {DType::q6_k, 151936, 1536}};  // gemma3-270m, 0.5B, 1.5B
constexpr int64_t kRows[] = {1, 2, 4, 8, 16};
constexpr int64_t kChunk = 32;   // panels of one call of a screen, as in src/head
constexpr size_t kTokens = 512;  // of a text
constexpr int64_t kStates = 64;  // kept of it

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return text;
}

/// A head packed both ways for one table.
struct Packed {
  Linear plain;
  HeadLinear split;
  Buffer plain_memory, split_memory;

  Packed(const Tensor& tensor, const KernelTable& table, Numerics numerics, ThreadPool& pool) {
    const KernelTable* tables[] = {&table};
    plain = plan_linear(tensor, tables, numerics).value();
    split = plan_head(tensor, tables, numerics).value();
    plain_memory = Buffer(plain.packed_bytes);
    split_memory = Buffer(split.product.packed_bytes);
    pack_linear(plain, tensor, plain_memory.data(), pool);
    pack_linear(split.product, tensor, split_memory.data(), pool);
  }
};

// ---- random heads ---------------------------------------------------------------------------------------------------

struct Case {
  Shape shape;
  const KernelTable* table;
  Numerics numerics;

  std::string name() const {
    return "head/" + std::to_string(shape.rows) + "x" + std::to_string(shape.cols) + "/" +
           lower(std::string(info(shape.type).name)) + "/" + table->name + "/" + std::string(name_of(numerics));
  }
};

struct RandomHead {
  LinearCase declared;
  Packed packed;

  RandomHead(const Case& c, ThreadPool& pool)
      : declared(c.shape.type, c.shape.rows, c.shape.cols, std::end(kRows)[-1], 1, testing::Fill::random, c.numerics),
        packed({"bench", c.shape.type, c.shape.rows, c.shape.cols,
                reinterpret_cast<const std::byte*>(declared.weights.data())},
               *c.table, c.numerics, pool) {}
};

RandomHead& head_of(const Case& c, ThreadPool& pool) {
  static std::string held;
  static std::unique_ptr<RandomHead> head;
  if (held != c.name()) {
    head.reset();
    head = std::make_unique<RandomHead>(c, pool);
    held = c.name();
  }
  return *head;
}

/// Bounds of n rows, and nothing done with them.
void screen(RandomHead& head, int64_t n, float* prepared, ThreadPool& pool) {
  const HeadKernel& kernel = *head.packed.split.kernel;
  const Linear& product = head.packed.split.product;
  const int64_t floats = kernel.prepared_floats(product.matrix), panels = product.panels();
  for (int64_t r = 0; r < n; ++r) kernel.prepare(product.matrix, head.declared.quant(), r, prepared + r * floats);
  const int64_t parts = pool.threads() * 8;
  pool.run(parts, [&](int64_t i) {
    alignas(64) float lower[16 * kChunk * 16], upper[16 * kChunk * 16];
    for (int64_t p = panels * i / parts; p < panels * (i + 1) / parts; p += kChunk) {
      kernel.screen(
          {product.matrix, product.packed, head.declared.quant(), prepared, n, nullptr, lower, upper, kChunk * 16}, p,
          std::min(panels * (i + 1) / parts, p + kChunk));
    }
  });
}

enum class What : uint8_t { plain, split, screen };
constexpr const char* kWhat[] = {"plain", "split", "screen"};

void run_random(benchmark::State& state, const Case& c, What what, int64_t n, ThreadPool& pool) {
  RandomHead& head = head_of(c, pool);
  std::vector<float> dst(static_cast<size_t>(n * c.shape.rows));
  std::vector<float> prepared(static_cast<size_t>(n * head.packed.split.kernel->prepared_floats(head.declared.matrix)));
  const double before = bench::memory_roof(pool);
  std::vector<double> times, plain_times;
  for (auto _ : state) {
    const LinearJob plain{&head.packed.plain, n, dst.data(), c.shape.rows};
    const LinearJob split{&head.packed.split.product, n, dst.data(), c.shape.rows};
    auto begin = Clock::now();
    linear(pool, {nullptr, head.declared.quant()}, {&plain, 1});
    plain_times.push_back(seconds_since(begin));
    begin = Clock::now();
    if (what == What::screen) screen(head, n, prepared.data(), pool);
    if (what == What::split) linear(pool, {nullptr, head.declared.quant()}, {&split, 1});
    if (what == What::plain) linear(pool, {nullptr, head.declared.quant()}, {&plain, 1});
    times.push_back(seconds_since(begin));
    state.SetIterationTime(times.back());
  }
  state.counters["bytes"] = static_cast<double>(head.packed.split.product.packed_bytes);
  state.counters["plain_bytes"] = static_cast<double>(head.packed.plain.packed_bytes);
  state.counters["us"] = median(times) * 1e6;
  state.counters["of_plain"] = median(times) / median(plain_times);
  state.counters["roof_GB/s"] = (before + bench::memory_roof(pool)) / 2e9;
}

// ---- a model's own states -------------------------------------------------------------------------------------------

/// Rows of quantised activations, one after the other.
struct States {
  int64_t cols = 0;
  std::vector<int8_t> values, low;
  std::vector<float> scales;
  std::vector<int32_t> sums;

  void keep(const QuantRows& q, int64_t row) {
    const int64_t at = row * q.cols;
    cols = q.cols;
    values.insert(values.end(), q.values + at, q.values + at + cols);
    if (q.low != nullptr) low.insert(low.end(), q.low + at, q.low + at + cols);
    scales.insert(scales.end(), q.scales + at / kQuantBlock, q.scales + (at + cols) / kQuantBlock);
    sums.insert(sums.end(), q.sums + at / kSumBlock, q.sums + (at + cols) / kSumBlock);
  }
  int64_t n() const { return static_cast<int64_t>(values.size()) / cols; }
  QuantRows row(int64_t r) {
    return {values.data() + r * cols, scales.data() + r * cols / kQuantBlock, sums.data() + r * cols / kSumBlock, cols,
            low.empty() ? nullptr : low.data() + r * cols};
  }
};

/// Stands in for the head's kernel and keeps what it reads: the engine has no other need to give states away.
struct Recorder {
  static inline const LinearKernel* original = nullptr;
  static inline States* into = nullptr;

  static void run(const LinearArgs& args, int64_t begin, int64_t end) noexcept {
    for (int64_t r = 0; begin == 0 && r < args.n; ++r) into->keep(args.src_quant, r);
    original->run(args, begin, end);
  }
};

States states_of(const Model& model, const std::string& text_path, int threads) {
  std::ifstream file(text_path);
  std::stringstream text;
  text << file.rdbuf();
  std::vector<int32_t> tokens = model.tokenizer().encode(text.str()).value();
  tokens.resize(std::min(tokens.size(), kTokens));
  States states;
  LinearKernel recording = *model.weights().head.kernel;
  Recorder::original = model.weights().head.kernel;
  Recorder::into = &states;
  recording.run = Recorder::run;
  auto& head = const_cast<Weights&>(model.weights()).head;
  head.kernel = &recording;
  Session session =
      std::move(Session::make(model, {.max_tokens = static_cast<int32_t>(kTokens), .threads = threads})).value();
  const size_t every = std::max<size_t>(1, tokens.size() / static_cast<size_t>(kStates));
  for (size_t i = 0; i < tokens.size(); ++i) {
    const Row row{.token = tokens[i], .position = static_cast<int32_t>(i), .logits = i % every == every - 1};
    session.step({&row, 1}).value();
  }
  head.kernel = Recorder::original;
  return states;
}

struct Rule {
  const char* name;
  SampleOptions options;
};
const Rule kRules[] = {{"greedy", {}},
                       {"temperature_0.7", {.temperature = 0.7f, .seed = 1}},
                       {"temperature_1", {.temperature = 1, .seed = 1}},
                       {"min_p_0.05", {.temperature = 1, .min_p = 0.05f, .seed = 1}},
                       {"top_k_40", {.temperature = 1, .top_k = 40, .seed = 1}}};

void run_states(benchmark::State& state, Packed& packed, States& states, const Rule& rule, ThreadPool& pool) {
  ScreenedHead head = std::move(ScreenedHead::make(packed.split, 1)).value();
  const int64_t vocab = packed.plain.matrix.rows;
  std::vector<float> full(static_cast<size_t>(vocab)), sparse(full);
  std::vector<double> whole, screened;
  double survivors = 0, panels = 0, most = 0, fallbacks = 0;
  int64_t n = 0;
  for (auto _ : state) {
    const QuantRows row = states.row(n % states.n());
    auto begin = Clock::now();
    const LinearJob job{&packed.plain, 1, full.data(), vocab};
    linear(pool, {nullptr, row}, {&job, 1});
    whole.push_back(seconds_since(begin));
    const LogitUse use{&rule.options, 0, n, {}};
    ScreenReport report;
    begin = Clock::now();
    head.run(pool, row, {&use, 1}, sparse.data(), vocab, {&report, 1});
    screened.push_back(seconds_since(begin));
    state.SetIterationTime(screened.back());
    if (sample(sparse, rule.options, 0, n) != sample(full, rule.options, 0, n)) state.SkipWithError("another token");
    survivors += static_cast<double>(report.survivors);
    panels += static_cast<double>(report.panels);
    most = std::max(most, static_cast<double>(report.panels));
    fallbacks += report.full != FullHead::none;
    ++n;
  }
  double total_whole = 0, total_screened = 0;
  for (size_t i = 0; i < whole.size(); ++i) total_whole += whole[i], total_screened += screened[i];
  const auto rows = static_cast<double>(n), all_panels = static_cast<double>(packed.plain.panels());
  state.counters["survivors_%"] = 100 * survivors / rows / static_cast<double>(vocab);
  state.counters["panels_%"] = 100 * panels / rows / all_panels;
  state.counters["most_panels_%"] = 100 * most / all_panels;
  state.counters["whole_heads_%"] = 100 * fallbacks / rows;
  state.counters["us"] = median(screened) * 1e6;
  state.counters["of_whole"] = median(screened) / median(whole);
  state.counters["of_whole_mean"] = total_screened / total_whole;
}

// ---- cases ----------------------------------------------------------------------------------------------------------

struct Options {
  int threads = 2;
  std::string model;
  std::vector<std::string> texts;
};

/// Takes this program's own options out of argv.
Options take_options(int& argc, char** argv) {
  Options options;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.rfind("--threads=", 0) == 0) {
      options.threads = std::atoi(arg.c_str() + 10);
    } else if (arg.rfind("--model=", 0) == 0) {
      options.model = arg.substr(8);
    } else if (arg.rfind("--text=", 0) == 0) {
      options.texts.push_back(arg.substr(7));
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return options;
}

std::span<const KernelTable* const> tables() {
  int32_t n = 0;
  const KernelTable* const* first = kernels::cpu(&n);
  return {first, static_cast<size_t>(n)};
}

void register_random(ThreadPool& pool) {
  for (const KernelTable* table : tables()) {
    for (const Shape& shape : kShapes) {
      for (Numerics numerics : {Numerics::fast, Numerics::faithful}) {
        for (What what : {What::plain, What::split, What::screen}) {
          for (int64_t n : kRows) {
            const Case c{shape, table, numerics};
            benchmark::RegisterBenchmark(
                (c.name() + "/" + kWhat[static_cast<int>(what)] + "/n:" + std::to_string(n)).c_str(),
                [c, what, n, &pool](benchmark::State& state) { run_random(state, c, what, n, pool); })
                ->UseManualTime()
                ->Unit(benchmark::kMicrosecond);
          }
        }
      }
    }
  }
}

/// One head for each table, and the states of each text.
struct Measured {
  Model model;
  std::vector<std::unique_ptr<Packed>> heads;
  std::vector<States> states;
};

void register_model(Measured& measured, const Options& options, ThreadPool& pool) {
  for (size_t text = 0; text < options.texts.size(); ++text) {
    for (size_t t = 0; t < measured.heads.size(); ++t) {
      for (const Rule& rule : kRules) {
        const std::string file = options.texts[text].substr(options.texts[text].rfind('/') + 1);
        benchmark::RegisterBenchmark(("screened/" + file + "/" + rule.name + "/" + tables()[t]->name).c_str(),
                                     [&, text, t](benchmark::State& state) {
                                       run_states(state, *measured.heads[t], measured.states[text], rule, pool);
                                     })
            ->UseManualTime()
            ->Unit(benchmark::kMicrosecond)
            ->Iterations(measured.states[text].n() * 3);
      }
    }
  }
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  using namespace fathom;
  const Options options = take_options(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  auto pool = ThreadPool::make(options.threads);
  if (!pool) return std::fprintf(stderr, "%s\n", pool.error().message.c_str()), 2;
  std::unique_ptr<Measured> measured;
  if (options.model.empty()) {
    register_random(*pool);
  } else {
    auto model = Model::open(options.model, {.threads = options.threads});
    if (!model) return std::fprintf(stderr, "bench_head: %s\n", model.error().message.c_str()), 2;
    measured = std::make_unique<Measured>(Measured{*model, {}, {}});
    for (const std::string& text : options.texts) measured->states.push_back(states_of(*model, text, options.threads));
    const auto tensors = model->tensors();
    const std::string name = model->config().tied_head ? "token_embd.weight" : "output.weight";
    const auto head = std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
    for (const KernelTable* table : tables().first(std::min<size_t>(3, tables().size())))
      measured->heads.push_back(std::make_unique<Packed>(*head, *table, model->numerics(), *pool));
    register_model(*measured, options, *pool);
  }
  if (benchmark::RunSpecifiedBenchmarks() > 0) return 0;
  std::fprintf(stderr, "bench_head: no case has that name: --benchmark_list_tests lists them\n");
  return 2;
}
