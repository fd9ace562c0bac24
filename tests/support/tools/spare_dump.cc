// Writes the model with spare depth and its three texts, for `./dev model tiny-spare`; or the small one that tests make
// in memory, for the command to work on.
// Next: tests/support/tools/depth_table.cc, which measures them.
#include <fmt/format.h>

#include <fstream>
#include <string_view>

#include "tests/support/spare_model.h"

namespace {

using namespace fathom::testing;

constexpr int32_t kDocuments = 1300;  // of each kind

bool write(const std::string& path, const char* data, size_t bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(data, static_cast<std::streamsize>(bytes));
  out.close();
  if (!out) fmt::print(stderr, "{}: cannot be written: check the folder and the disk\n", path);
  return !out.fail();
}

}  // namespace

int main(int argc, char** argv) {
  const bool small = argc == 3 && std::string_view(argv[2]) == "small";
  if (argc != 2 && !small) {
    fmt::print(
        stderr,
        "usage: spare_dump DIRECTORY [small]    writes tiny-spare.gguf (small: spare.gguf), prose.txt, code.txt, "
        "mixed.txt\n");
    return 2;
  }
  const std::string directory = argv[1];
  const SpareLanguage language = spare_language(small ? SpareOptions{} : tiny_spare());
  for (const SpareText kind : {SpareText::prose, SpareText::code, SpareText::mixed}) {
    const std::string text = spare_text(language, kind, kDocuments);
    if (!write(fmt::format("{}/{}.txt", directory, name(kind)), text.data(), text.size())) return 1;
  }
  const Bytes bytes = spare_writer(language).bytes();
  return write(directory + (small ? "/spare.gguf" : "/tiny-spare.gguf"), reinterpret_cast<const char*>(bytes.data()),
               bytes.size())
             ? 0
             : 1;
}
