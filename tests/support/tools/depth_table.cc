// How deep a model must go on texts, layer by layer: agreement of an exit there with full depth, and the oracle's exit,
// the layer from which on the answer stays that of full depth. Next: docs/models.md.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fathom/engine/perplexity.h"

namespace {

using namespace fathom;

constexpr int32_t kWindow = 64, kRows = 256;

/// What a group's rows say at each depth.
struct Group {
  double perplexity = 0;
  std::vector<double> agreement;  // [layers + 1], from 1
  std::vector<double> oracle;     // [layers + 1] share of rows whose answer stays from here on
  double mean = 0;                // layers of the oracle's exits
};

Perplexity score(Session& session, const std::vector<int32_t>& ids, int32_t layer, int32_t n_layers) {
  PerplexityOptions options{.window = kWindow};
  if (layer < n_layers) options.policy = exit_at{.layer = layer};
  return perplexity(session, ids, options).value();
}

Group measure(Session& session, const std::vector<int32_t>& ids) {
  const int32_t n_layers = session.model().config().n_layers;
  Group group;
  group.agreement.resize(static_cast<size_t>(n_layers) + 1);
  group.oracle = group.agreement;
  const Perplexity full = score(session, ids, n_layers, n_layers);
  group.perplexity = full.perplexity;
  std::vector<int32_t> stays(ids.size(), n_layers);
  double rows = 0;
  for (const ScoredToken& token : full.tokens) rows += token.argmax >= 0;
  group.agreement.back() = 1;
  for (int32_t layer = n_layers - 1; layer >= 1; --layer) {
    const Perplexity at = score(session, ids, layer, n_layers);
    double& agreed = group.agreement[static_cast<size_t>(layer)];
    for (size_t i = 0; i < ids.size(); ++i) {
      if (full.tokens[i].argmax < 0 || at.tokens[i].argmax != full.tokens[i].argmax) continue;
      agreed += 1 / rows;
      if (stays[i] == layer + 1) stays[i] = layer;
    }
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (full.tokens[i].argmax < 0) continue;
    group.oracle[static_cast<size_t>(stays[i])] += 1 / rows;
    group.mean += stays[i] / rows;
  }
  return group;
}

std::string read(const char* path, size_t bytes) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(fmt::format("{}: cannot be read: give the path of a text", path));
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return text.substr(0, bytes);
}

void run(int argc, char** argv) {
  const Model model = Model::open(argv[1], {.threads = 2}).value();
  Session session =
      Session::make(
          model, {.max_tokens = kWindow, .max_sequences = 8, .max_rows = kRows, .max_logit_rows = kRows, .threads = 2})
          .value();
  std::vector<Group> groups;
  std::string head = "layer", ends = "mean", perplexities = "perplexity";
  for (int i = 3; i < argc; ++i) {
    groups.push_back(measure(session, model.tokenizer().encode(read(argv[i], std::stoul(argv[2]))).value()));
    head += fmt::format("  {:>24}", argv[i]).substr(0, 26);
    ends += fmt::format("  {:.2f} layers", groups.back().mean);
    perplexities += fmt::format("  {:.2f}", groups.back().perplexity);
  }
  fmt::print("{}    (agreement with full depth, share of rows whose answer stays from here on)\n", head);
  for (size_t layer = 1; layer < groups.front().agreement.size(); ++layer) {
    fmt::print("{:5}", layer);
    for (const Group& group : groups) fmt::print("  {:12.4f}{:12.4f}", group.agreement[layer], group.oracle[layer]);
    fmt::print("\n");
  }
  fmt::print("{}\n{}\n", ends, perplexities);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: depth_table MODEL BYTES TEXT...    of each text the first BYTES\n");
    return 2;
  }
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "depth_table: {}\n", error.what());
    return 1;
  }
  return 0;
}
