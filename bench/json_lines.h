// A process that holds a model and answers requests, one JSON object a line: what steps.cc and pairs.cc share.
// Next: peers/steps.cc.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

#include "fathom/fathom.h"

namespace fathom::bench {

/// What follows MODEL, THREADS and CONTEXT on the command line, and these.
struct ServeOptions {
  std::string path;
  OpenOptions open;
  int32_t context = 0;
};

inline Numerics path_named(std::string_view name) {
  const auto numerics = numerics_named(name);
  if (!numerics)
    throw std::invalid_argument("--numerics " + std::string(name) + ": give fast, faithful, exact or bf16");
  return *numerics;
}

/// MODEL THREADS CONTEXT, then from argument `first` on [--target NAME] [--numerics NAME] [--quantise q8_0]
/// [--screen-head yes].
inline ServeOptions serve_options(int argc, char** argv, int first) {
  ServeOptions out{.path = argv[1], .open = {.threads = std::atoi(argv[2])}, .context = std::atoi(argv[3])};
  for (int i = first; i + 1 < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--target") out.open.target = argv[i + 1];
    if (option == "--numerics") out.open.numerics = path_named(argv[i + 1]);
    if (option == "--quantise") out.open.quantise = DType::q8_0;
    if (option == "--screen-head") out.open.screen_head = argv[i + 1] == std::string_view("yes");
  }
  return out;
}

inline void put_line(const nlohmann::json& object) {
  std::printf("%s\n", object.dump().c_str());
  std::fflush(stdout);
}

/// Answers each line of stdin until its end.
template <class Answer>
void answer_lines(Answer&& answer) {
  std::string line;
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    put_line(answer(nlohmann::json::parse(line)));
    line.clear();
  }
}

/// main() of such a process: what goes wrong is one line, and code 1.
inline int run(const char* name, int (*serve)(int argc, char** argv), int argc, char** argv) {
  try {
    return serve(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name, e.what());
    return 1;
  }
}

}  // namespace fathom::bench
