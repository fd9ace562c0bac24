// open_output: looks at what is there before it empties anything, and never waits for the other end of a pipe.
#include "src/trace/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace fathom {
namespace {

Error cannot_write(const std::string& path, const OutputKind& kind) {
  return {ErrorCode::file, fmt::format("{} {}: {}: give a path that can be written", kind.name, path,
                                       std::generic_category().message(errno))};
}

/// A new or empty file, an earlier one of this kind, or a device.
Result<void> empty(int fd, const std::string& path, const OutputKind& kind) {
  struct stat s {};
  if (fstat(fd, &s) == 0 && S_ISCHR(s.st_mode)) return {};
  std::string first(kind.first.size(), '\0');
  const ssize_t n = S_ISREG(s.st_mode) ? pread(fd, first.data(), first.size(), 0) : -1;
  const bool own = n == static_cast<ssize_t>(first.size()) && first == kind.first;
  if (n != 0 && !own) {
    return Error{ErrorCode::file, fmt::format("{} {}: {}: give another path", kind.name, path, kind.foreign)};
  }
  if (ftruncate(fd, 0) == 0) return {};
  return cannot_write(path, kind);
}

}  // namespace

Result<int> open_output(const std::string& path, const OutputKind& kind) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0644);
  if (fd < 0) return cannot_write(path, kind);
  if (auto emptied = empty(fd, path, kind); !emptied) {
    ::close(fd);
    return emptied.error();
  }
  return fd;
}

}  // namespace fathom
