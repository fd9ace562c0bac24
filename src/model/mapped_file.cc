// Mapping a model file, and noticing when somebody changes it. Next in the flow: gguf.cc.
#include "src/model/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace fathom {
namespace {

int64_t time_of_change(const struct stat& s) { return int64_t{s.st_mtim.tv_sec} * 1'000'000'000 + s.st_mtim.tv_nsec; }

Error system_error(const std::string& path, std::string_view what, std::string_view remedy) {
  return {ErrorCode::file, fmt::format("file {}: {}: {}: {}", path, what, std::strerror(errno), remedy)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path, std::string_view wanted) {
  // A pipe would block in open() until somebody writes; a regular file ignores the flag.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return system_error(path, "cannot be opened", "check the path and its permissions");
  MappedFile file(path, fd, 0, 0, nullptr);
  struct stat s {};
  if (fstat(fd, &s) != 0) return system_error(path, "cannot be examined", "check the file system");
  if (!S_ISREG(s.st_mode))
    return Error{ErrorCode::file, fmt::format("file {}: is not a regular file: give {}", path, wanted)};
  if (s.st_size == 0) return Error{ErrorCode::file, fmt::format("file {}: is empty: give {}", path, wanted)};
  void* data = mmap(nullptr, static_cast<size_t>(s.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return system_error(path, "cannot be mapped", "check address space limits (ulimit -v)");
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = static_cast<size_t>(s.st_size);
  file.changed_ns_ = time_of_change(s);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(std::exchange(other.size_, 0)),
      changed_ns_(other.changed_ns_),
      data_(std::exchange(other.data_, nullptr)) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
  if (fd_ >= 0) ::close(fd_);
}

void MappedFile::give_back(const std::byte* begin, const std::byte* end) const noexcept {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

Result<void> MappedFile::check_unchanged() const {
  struct stat s {};
  if (fstat(fd_, &s) != 0) return system_error(path_, "cannot be examined", "check the file system");
  if (static_cast<size_t>(s.st_size) == size_ && time_of_change(s) == changed_ns_) return {};
  return Error{ErrorCode::file,
               fmt::format("file {}: changed while it was being read ({} bytes, now {}): replace files by renaming "
                           "a finished copy, and open it again",
                           path_, size_, s.st_size)};
}

}  // namespace fathom
