// A run recorded once, then asked what other policies would have done: no model is run for the answer.
//   usage: example_03_trace_and_replay MODEL.gguf [PROMPT]
#include <cstdio>

#include "fathom/fathom.h"

int main(int argc, char** argv) {
  if (argc < 2) return std::fputs("usage: example_03_trace_and_replay MODEL.gguf [PROMPT]\n", stderr), 2;
  try {
    auto model = fathom::Model::open(argv[1], {.threads = 2}).value();
    auto session = fathom::Session::make(model, {.max_tokens = 512, .threads = 2}).value();
    const int layers = model.config().n_layers;

    // A confidence that is never reached: every boundary is checked, and the text is that of full depth.
    const fathom::Policy recorded = fathom::exit_when{.confidence_at_least = 1.0f, .from_layer = layers / 2};
    const char* path = "03_trace_and_replay.trace";
    auto trace = fathom::Trace::create(path, {.policy = recorded.text(), .n_layers = layers}).value();
    auto out = fathom::generate(session, argc > 2 ? argv[2] : "The sea is",
                                {.max_new_tokens = 24, .policy = recorded, .trace = &trace})
                   .value();
    trace.finish().value();
    std::printf("%s\n", out.text.c_str());

    for (float confidence : {0.99f, 0.9f, 0.7f, 0.5f}) {
      const fathom::Policy other = fathom::exit_when{.confidence_at_least = confidence, .from_layer = layers / 2};
      auto reader = fathom::TraceReader::open(path).value();
      const fathom::ReplayReport r = fathom::replay(reader, other.ref()).value();
      std::printf("%-50s %2lld rows the same, %lld exits earlier, %2lld unknown after it\n", other.text().c_str(),
                  static_cast<long long>(r.decided_same), static_cast<long long>(r.decided_differently),
                  static_cast<long long>(r.unknown_after_divergence));
    }
    std::remove(path);
  } catch (const fathom::Exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
}
