// Three objects to the first token: a model, a session, a verb.
//   usage: example_01_generate MODEL.gguf [PROMPT]
#include <cstdio>

#include "fathom/fathom.h"

int main(int argc, char** argv) {
  if (argc < 2) return std::fputs("usage: example_01_generate MODEL.gguf [PROMPT]\n", stderr), 2;

  auto model = fathom::Model::open(argv[1], {.threads = 2});
  if (!model) return std::fprintf(stderr, "%s\n", model.error().message.c_str()), 1;
  auto session = fathom::Session::make(*model, {.max_tokens = 512, .threads = 2});
  if (!session) return std::fprintf(stderr, "%s\n", session.error().message.c_str()), 1;

  // The same prompt at full depth, and leaving two thirds of the way up.
  const int layers = model->config().n_layers;
  for (const fathom::Policy& policy : {fathom::Policy{}, fathom::Policy{fathom::exit_at{.layer = 2 * layers / 3}}}) {
    auto out = fathom::generate(*session, argc > 2 ? argv[2] : "The sea is", {.max_new_tokens = 24, .policy = policy});
    if (!out) return std::fprintf(stderr, "%s\n", out.error().message.c_str()), 1;
    std::printf("%s: depth %.1f of %d, work %.2f\n  %s\n", policy.text().c_str(), out->mean_depth, layers, out->work,
                out->text.c_str());
  }
}
