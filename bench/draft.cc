// What drafts from the text itself would gain on given texts, without running a model: bench_draft MODEL.gguf FILE...
// The second half of each file is taken as what the model writes, rows cost what two kinds of machine ask for them.
#include "fathom/engine/draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "fathom/model/model.h"

namespace {

using namespace fathom;

constexpr int32_t kMaxRows = 16;

// Passes of 1, 2, 4, 8 and 16 rows in units of one row's; between them linear.
struct Machine {
  const char* name;
  std::array<double, 5> cost;
  double pass(int32_t rows) const {
    size_t i = 0;
    while (i < 3 && rows > 2 << i) ++i;
    return cost[i] + (cost[i + 1] - cost[i]) * (rows - (1 << i)) / (1 << i);
  }
};
constexpr Machine kMachines[] = {{"vnni", {1, 1.03, 1.1, 1.5, 2.6}}, {"avx2", {1, 1.27, 1.8, 3.3, 6.6}}};

struct Gain {
  double tokens = 0, time = 0, passes = 0, drafted = 0, accepted = 0;
};

Gain write_second_half(const std::vector<int32_t>& text, const Machine& machine) {
  const auto source = ngram_draft();
  const auto chooser = goodput_chooser();
  Gain gain;
  size_t at = text.size() / 2;
  source->begin(std::span(text).first(at));
  while (at < text.size()) {
    std::array<int32_t, kMaxRows - 1> guesses;
    DraftOutcome o;
    o.offer = {.max_rows = static_cast<int32_t>(std::min<size_t>(kMaxRows, text.size() - at))};
    o.offer.proposed = source->propose(std::span(guesses).first(static_cast<size_t>(o.offer.max_rows - 1)));
    o.offer.confidence = source->confidence();
    o.choice = chooser->choose(o.offer);
    o.drafted = o.choice.source;
    const auto right = [&](int32_t i) { return guesses[static_cast<size_t>(i)] == text[at + static_cast<size_t>(i)]; };
    while (o.accepted < o.drafted && right(o.accepted)) ++o.accepted;
    o.would_match = o.offer.proposed > 0 ? right(0) : -1;
    o.rows = 1 + o.drafted;
    o.seconds = 0.01 * machine.pass(o.rows);
    chooser->learn(o);
    gain.tokens += 1 + o.accepted, gain.time += machine.pass(o.rows), ++gain.passes;
    gain.drafted += o.drafted, gain.accepted += o.accepted;
    for (int32_t i = 0; i <= o.accepted; ++i) source->commit(text[at++]);
  }
  return gain;
}

double commit_ns(const std::vector<int32_t>& text) {
  const auto source = ngram_draft();
  const auto start = std::chrono::steady_clock::now();
  source->begin(text);
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  return taken.count() / static_cast<double>(text.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return std::fprintf(stderr, "usage: bench_draft MODEL.gguf FILE...\n"), 2;
  const auto model = Model::open(argv[1]);
  if (!model) return std::fprintf(stderr, "%s\n", model.error().message.c_str()), 1;
  for (int i = 2; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    if (bytes.empty()) return std::fprintf(stderr, "%s: empty or not readable: give a text file\n", argv[i]), 1;
    const std::vector<int32_t> text = model->tokenizer().encode(bytes).value();
    for (const Machine& machine : kMachines) {
      const Gain gain = write_second_half(text, machine);
      fmt::print(
          "draft/{}/{}  {:.3f} x no drafting, {:.2f} tokens a pass, {:.2f} of {:.0f} guesses right, {:.0f} ns a "
          "token\n",
          argv[i], machine.name, gain.tokens / gain.time, gain.tokens / gain.passes,
          gain.drafted > 0 ? gain.accepted / gain.drafted : 0, gain.drafted, commit_ns(text));
    }
  }
  return 0;
}
