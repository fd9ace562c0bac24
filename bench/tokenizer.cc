// Speed of the tokenizers of real models over one text file: bench_tokenizer MODEL.gguf FILE.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "fathom/model/model.h"

namespace {

void encode(benchmark::State& state, const fathom::Tokenizer& tokenizer, const std::string& text) {
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.encode(text));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 3) return std::fprintf(stderr, "usage: bench_tokenizer MODEL.gguf FILE\n"), 2;
  const auto model = fathom::Model::open(argv[1]);
  if (!model) return std::fprintf(stderr, "%s\n", model.error().message.c_str()), 1;
  std::ifstream file(argv[2], std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  if (text.empty()) return std::fprintf(stderr, "%s: empty or not readable: give a text file\n", argv[2]), 1;
  const fathom::Tokenizer tokenizer = model->tokenizer();
  benchmark::RegisterBenchmark(("tokenize/" + tokenizer.tables().model).c_str(), [&](benchmark::State& state) {
    encode(state, tokenizer, text);
  })->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
