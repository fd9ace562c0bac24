// The roofs of this machine, so that rates of models can be given as shares of them: one JSON line for each number of
// threads, all and 1, or for the one that is asked for. About 0.7 s a line. Next: peers/throughput.py, which uses it.
//   ./dev bench roof [--threads 2] [--isa avx2]
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/roofs.h"

namespace {

using fathom::bench::Isa;

int usage(const char* option) {
  std::fprintf(stderr,
               "bench_roof: '%s' is no option, or not one of this machine: give --threads N, N from 1 to 256, and "
               "--isa vnni or avx2\n",
               option);
  return 2;
}

void print_roofs(int threads, Isa isa) {
  auto pool = fathom::ThreadPool::make(threads).value();
  fathom::bench::pin_threads(pool);
  const double bytes = fathom::bench::memory_roof(pool), operations = fathom::bench::int8_roof(pool, isa);
  const double floats = fathom::bench::f32_roof(pool, isa == Isa::vnni ? 64 : isa == Isa::avx2 ? 32 : 0);
  const auto rounded = [](double x) { return static_cast<double>(static_cast<long>(x / 1e8 + 0.5)) / 10; };
  const nlohmann::ordered_json line = {{"threads", threads},
                                       {"gb_per_s", rounded(bytes)},
                                       {"int8_gop_per_s", rounded(operations)},
                                       {"f32_gop_per_s", rounded(floats)},
                                       {"isa", fathom::bench::name(isa)}};
  std::printf("%s\n", line.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  // All before one: threads made later inherit the processor that the first is bound to.
  std::vector<int> threads = {static_cast<int>(std::thread::hardware_concurrency()), 1};
  Isa isa = fathom::bench::best_isa();
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (i + 1 == argc) return usage(argv[i]);
    if (option == "--threads") {
      threads = {std::atoi(argv[i + 1])};
      if (threads[0] < 1 || threads[0] > 256) return usage(argv[i]);
    } else if (option == "--isa") {
      const auto named = fathom::bench::isa_named(argv[i + 1]);
      if (!named) return usage(argv[i]);
      isa = *named;
    } else {
      return usage(argv[i]);
    }
  }
  if (threads[0] <= 1) threads = {1};
  for (int n : threads) print_roofs(n, isa);
  return 0;
}
