// ByteSource: where documents are read from, at any offset: a file, or bytes in memory. Next: documents.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "fathom/core/result.h"

namespace fathom {

class ByteSource {
 public:
  /// What tells whether a file is still the one that was read.
  struct Stamp {
    uint64_t bytes = 0;
    int64_t changed_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };

  /// Opens a regular file.
  ///   errors   file: absent, unreadable, a directory or a pipe
  static Result<ByteSource> open(const std::string& path);

  /// The same from bytes in memory, which must outlive the source.
  static ByteSource from_bytes(std::string name, std::span<const char> bytes);

  ByteSource(ByteSource&& other) noexcept;
  ByteSource& operator=(ByteSource&& other) noexcept;
  ~ByteSource();

  /// Fills `dst` from `offset` on; less than all of it at the end only.
  ///   returns  bytes read
  ///   errors   file: the system's reason
  Result<size_t> read(uint64_t offset, std::span<char> dst) const;

  const std::string& name() const { return name_; }  // as errors call it
  const Stamp& stamp() const { return stamp_; }
  uint64_t bytes() const { return stamp_.bytes; }

 private:
  ByteSource() = default;

  std::string name_;
  int fd_ = -1;
  std::span<const char> memory_;
  Stamp stamp_;
};

}  // namespace fathom
