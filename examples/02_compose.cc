// A policy with a stage of one's own: any copyable type with traits and a noexcept call composes with the built-in
// ones.
//   usage: example_02_compose MODEL.gguf [PROMPT]
#include <cstdio>

#include "fathom/fathom.h"

/// Lets a row leave early at every second position: a control, to see what a policy without a reason costs.
struct leave_at_even_positions {
  static constexpr fathom::StageTraits traits{.name = "leave_at_even_positions", .kind = fathom::StageKind::proposal};
  int from_layer = 1;

  fathom::Decision operator()(const fathom::Step& step, fathom::Decision decision) const noexcept {
    if (step.position % 2 == 0 && step.layer >= from_layer) decision.verdict = fathom::Verdict::exit;
    return decision;
  }
};

int main(int argc, char** argv) {
  if (argc < 2) return std::fputs("usage: example_02_compose MODEL.gguf [PROMPT]\n", stderr), 2;
  try {
    auto model = fathom::Model::open(argv[1], {.threads = 2}).value();
    auto session = fathom::Session::make(model, {.max_tokens = 512, .threads = 2}).value();
    const int layers = model.config().n_layers;

    // Limits stand to the right of proposals and have the last word; the other order does not compile.
    const fathom::Policy policy = leave_at_even_positions{.from_layer = layers / 2} | fathom::budget{.of_full = 0.9f} |
                                  fathom::min_depth{.layers = layers / 4};
    auto out =
        fathom::generate(session, argc > 2 ? argv[2] : "The sea is", {.max_new_tokens = 16, .policy = policy}).value();
    std::printf("%s\n%s\ndepths:", policy.text().c_str(), out.text.c_str());
    for (float depth : out.depths) std::printf(" %g", depth);
    std::printf("\nmean depth %.2f of %d, work %.3f of full depth\n", out.mean_depth, layers, out.work);
  } catch (const fathom::Exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
}
