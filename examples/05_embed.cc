// Reads lines from standard input, then prints for each the line that is nearest to it in meaning.
//   usage: example_05_embed MODEL < LINES
#include <cstdio>
#include <iostream>
#include <string>

#include "fathom/fathom.h"

int main(int argc, char** argv) {
  if (argc != 2) return std::fputs("usage: example_05_embed MODEL < LINES\n", stderr), 2;
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
  try {
    auto model = fathom::Model::open(argv[1], {.numerics = fathom::Numerics::exact, .threads = 2}).value();
    auto encoder = fathom::Encoder::make(model, {.threads = 2}).value();
    const std::vector<std::string_view> texts(lines.begin(), lines.end());
    const std::vector<fathom::Embedding> all = encoder.embed(texts).value();

    const auto cosine = [&](size_t a, size_t b) {  // of vectors of length 1
      float sum = 0;
      for (size_t c = 0; c < all[a].values.size(); ++c) sum += all[a].values[c] * all[b].values[c];
      return sum;
    };
    for (size_t a = 0; a < lines.size() && lines.size() > 1; ++a) {
      size_t nearest = a == 0 ? 1 : 0;
      for (size_t b = 0; b < lines.size(); ++b) {
        if (b != a && cosine(a, b) > cosine(a, nearest)) nearest = b;
      }
      std::printf("%s\n  %.3f  %s\n", lines[a].c_str(), double{cosine(a, nearest)}, lines[nearest].c_str());
    }
  } catch (const fathom::Exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
}
