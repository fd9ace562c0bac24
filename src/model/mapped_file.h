// MappedFile: a model file or sidecar in memory, read only, whose pages can be given back. Next in the flow:
// model/gguf.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "fathom/core/result.h"

namespace fathom {

class MappedFile {
 public:
  /// Maps a regular file; `wanted` says in errors what to give instead.
  ///   errors   file: absent, unreadable, a directory, empty
  static Result<MappedFile> open(const std::string& path, std::string_view wanted = "a whole .gguf file");

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  int64_t changed_ns() const { return changed_ns_; }  // when it was mapped

  /// Gives the whole pages inside [begin, end) back to the system; reading them again reads the file again.
  void give_back(const std::byte* begin, const std::byte* end) const noexcept;

  /// Fails when the file is no longer what was mapped (its size or its time of change).
  ///   errors   file
  Result<void> check_unchanged() const;

 private:
  MappedFile(std::string path, int fd, size_t size, int64_t changed_ns, const std::byte* data)
      : path_(std::move(path)), fd_(fd), size_(size), changed_ns_(changed_ns), data_(data) {}

  std::string path_;
  int fd_;
  size_t size_;
  int64_t changed_ns_;
  const std::byte* data_;
};

}  // namespace fathom
