// A program outside the project, with one include: a policy as text, a model where one is named, errors by value.
//   usage: consume [MODEL.gguf]
#include <fathom/fathom.h>

#include <cstdio>

int main(int argc, char** argv) {
  auto policy = fathom::Policy::parse("exit_when(confidence_at_least=0.9, from_layer=12) | min_depth(6)");
  if (!policy) return std::fprintf(stderr, "%s\n", policy.error().message.c_str()), 1;
  std::printf("%s\n", policy->text().c_str());
  if (argc < 2) return 0;

  auto model = fathom::Model::open(argv[1], {.threads = 2});
  if (!model) return std::fprintf(stderr, "%s\n", model.error().message.c_str()), 1;
  auto session = fathom::Session::make(*model, {.max_tokens = 64, .threads = 2});
  if (!session) return std::fprintf(stderr, "%s\n", session.error().message.c_str()), 1;
  auto out = fathom::generate(*session, "The capital of France is", {.max_new_tokens = 8, .policy = *policy});
  if (!out) return std::fprintf(stderr, "%s\n", out.error().message.c_str()), 1;
  std::printf("%s\n", out->text.c_str());
}
