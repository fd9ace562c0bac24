// Writes every tiny case as a GGUF file, and cases.json, which names them. Next: tests/golden/tiny_oracle.py.
#include <fmt/format.h>
#include <xxhash.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/golden/tiny_cases.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: tiny_dump DIRECTORY\n");
    return 2;
  }
  const std::string directory = argv[1];
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  int i = 0;
  for (const fathom::testing::TinyCase& c : fathom::testing::tiny_cases()) {
    const fathom::testing::Bytes bytes = fathom::testing::tiny_gguf(c.options);
    const std::string file = fmt::format("case{:02}.gguf", i++);
    std::ofstream out(directory + "/" + file, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!out) {
      fmt::print(stderr, "{}/{}: cannot be written: check the directory\n", directory, file);
      return 1;
    }
    list.push_back(
        {{"name", c.name}, {"file", file}, {"xxh3", fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()))}});
  }
  std::ofstream(directory + "/cases.json") << nlohmann::ordered_json{
      {"prompt", fathom::testing::tiny_prompt()},
      {"positions", fathom::testing::kTinyPositions},
      {"vocab", fathom::testing::kTinyVocab},
      {"cases", list}}.dump(1);
  return 0;
}
