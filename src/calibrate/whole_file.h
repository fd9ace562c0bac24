// Files that are written whole or not at all, and small files read whole. Next in the flow: sidecar_file.cc.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "fathom/core/result.h"
#include "src/trace/output_file.h"

namespace fathom {

/// A file descriptor that is closed with its owner.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept { return std::swap(fd_, other.fd_), *this; }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool open() const noexcept { return fd_ >= 0; }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

/// Writes all of them, however often the system is interrupted; false with errno where it cannot.
bool write_all(int fd, std::span<const std::byte> bytes) noexcept;

/// Puts a new file in the place of `path`: it is written beside it, reaches the disk, and is renamed. Whatever fails,
/// the old file stays and no part of the new one does. A symbolic link is followed. Two writers at once: one of them
/// is the last, whole.
///   pieces   what the file holds, one behind the other
///   kind     its name in errors; where `first` is not empty, a file that does not begin with it is not replaced
///   errors   file: the system's reason, or something that is not to be replaced
Result<void> write_whole_file(const std::string& path, const OutputKind& kind,
                              std::span<const std::span<const std::byte>> pieces);
Result<void> write_whole_file(const std::string& path, const OutputKind& kind, std::string_view text);

/// Whether write_whole_file() may replace what is at `path`, as far as that can be told before: a file is made beside
/// it and taken away.
///   errors   its own
Result<void> check_place(const std::string& path, const OutputKind& kind);

/// Whether `path` is a regular file that begins with these bytes.
bool begins_with(const std::string& path, std::string_view first);

/// A regular file of at most `most` bytes.
///   kind     its name in errors
///   errors   file: the system's reason, or not a regular file; capacity: longer
Result<std::string> read_small_file(const std::string& path, std::string_view kind, size_t most);

}  // namespace fathom
