// Files and memory as sources of bytes. Next: documents.cc.
#include "src/calibrate/byte_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace fathom {
namespace {

std::string system_reason() { return std::generic_category().message(errno); }

}  // namespace

Result<ByteSource> ByteSource::open(const std::string& path) {
  ByteSource source;
  source.name_ = "file " + path;
  // Not blocking: a pipe without a writer must not hang us before fstat says what it is.
  source.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status {};
  if (source.fd_ < 0 || fstat(source.fd_, &status) != 0) {
    return Error{ErrorCode::file, fmt::format("{}: cannot be opened: {}: check the path and its permissions",
                                              source.name_, system_reason())};
  }
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::file, fmt::format("{}: is not a regular file: save the text to a file", source.name_)};
  }
  source.stamp_.bytes = static_cast<uint64_t>(status.st_size);
  source.stamp_.changed_ns = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  return source;
}

ByteSource ByteSource::from_bytes(std::string name, std::span<const char> bytes) {
  ByteSource source;
  source.name_ = std::move(name);
  source.memory_ = bytes;
  source.stamp_.bytes = bytes.size();
  return source;
}

ByteSource::ByteSource(ByteSource&& other) noexcept
    : name_(std::move(other.name_)), fd_(std::exchange(other.fd_, -1)), memory_(other.memory_), stamp_(other.stamp_) {}

ByteSource& ByteSource::operator=(ByteSource&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(fd_, other.fd_);
  memory_ = other.memory_;
  stamp_ = other.stamp_;
  return *this;
}

ByteSource::~ByteSource() {
  if (fd_ >= 0) ::close(fd_);
}

Result<size_t> ByteSource::read(uint64_t offset, std::span<char> dst) const {
  if (fd_ < 0) {
    const std::span<const char> rest = memory_.subspan(std::min<uint64_t>(offset, memory_.size()));
    const size_t bytes = std::min(rest.size(), dst.size());
    std::copy_n(rest.begin(), bytes, dst.begin());
    return bytes;
  }
  size_t done = 0;
  while (done < dst.size()) {
    const ssize_t got = pread(fd_, dst.data() + done, dst.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return Error{ErrorCode::file, fmt::format("{}: cannot be read at byte {}: {}: check the disk", name_,
                                                offset + done, system_reason())};
    }
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace fathom
