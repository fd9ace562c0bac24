// Labels from as few layers as are surely enough: a task is trained, then each line of standard input is labelled.
//   usage: example_06_classify MODEL_FOLDER [LABELLED.jsonl] < lines
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "fathom/fathom.h"

/// Orders and complaints, where no file is given.
std::string made_up() {
  const char* const things[] = {"lamp",   "chair", "kettle", "radio", "bicycle",
                                "jacket", "table", "watch",  "tent",  "oven"};
  const char* const orders[] = {"please send me", "i would like to buy", "we need", "could you deliver", "order for"};
  const char* const complaints[] = {"is broken", "never arrived", "has the wrong colour", "smells of smoke",
                                    "came late"};
  std::string lines;
  for (int i = 0; i < 1500; ++i) {
    const std::string thing = std::string(things[i % 10]) + " number " + std::to_string(i);
    const char* const part = (i % 2 == 0 ? orders : complaints)[i / 10 % 5];
    const std::string text = i % 2 == 0 ? part + (" a " + thing) : "the " + thing + " " + part;
    lines += R"({"text":")" + text + R"(","label":")" + (i % 2 == 0 ? "order" : "complaint") + "\"}\n";
  }
  return lines;
}

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3)
    return std::fputs("usage: example_06_classify MODEL_FOLDER [LABELLED.jsonl]\n", stderr), 2;
  try {
    std::string lines = made_up();
    if (argc == 3) {
      std::ifstream file(argv[2], std::ios::binary);
      lines.assign(std::istreambuf_iterator<char>(file), {});
    }
    const auto model = fathom::Model::open(argv[1], {.numerics = fathom::Numerics::exact, .threads = 2}).value();
    const auto set = fathom::read_labelled(lines, argc == 3 ? argv[2] : "made up").value();
    const auto task = fathom::train_task(model, set, {.risk = 0.05, .encoder = {.threads = 2}}).value();
    std::printf("%s\n", task.certified ? task.promise.c_str() : "nothing is certified: full depth runs");

    const auto heads = fathom::LabelHeads::make(model.config(), task.labels).value();
    auto classifier = fathom::Classifier::make(model, heads, {.threads = 2}).value();
    for (std::string line; std::getline(std::cin, line);) {
      const std::string_view text = line;
      const auto found = classifier.classify({&text, 1}, task.policy).value().front();
      std::string labels;
      for (const int32_t label : found.labels) labels += task.labels.labels[static_cast<size_t>(label)] + " ";
      std::printf("%-12s %.3f  %g layers  %s\n", labels.c_str(), double{found.confidence}, double{found.depth},
                  line.c_str());
    }
  } catch (const fathom::Exception& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
}
