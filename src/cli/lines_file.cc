// Opening and writing. Next: perplexity.cc and embed.cc, which have such files.
#include "src/cli/lines_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace fathom::cli {
namespace {

Error failure(const std::string& name) {
  return {ErrorCode::file,
          fmt::format("{}: {}: give a path that can be written", name, std::generic_category().message(errno))};
}

}  // namespace

Result<LinesFile> LinesFile::open(const std::string& path, const OutputKind& kind) {
  FATHOM_TRY(const int fd, open_output(path, kind));
  const std::string name = fmt::format("{} {}", kind.name, path);
  std::FILE* file = fdopen(fd, "w");
  if (file == nullptr) return ::close(fd), failure(name);
  return LinesFile(name, file);
}

Result<void> LinesFile::write(std::string_view text) {
  const bool whole = std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size();
  if (!whole || std::fflush(file_.get()) != 0) return failure(name_);
  return {};
}

}  // namespace fathom::cli
