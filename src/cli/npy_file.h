// NpyFile: rows of f32 as numpy reads them, [rows, width], whole after every write. Next: npy_file.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "fathom/core/result.h"

namespace fathom::cli {

class NpyFile {
 public:
  /// Replaces nothing but an earlier one that it wrote.
  ///   errors   file: those of open_output()
  static Result<NpyFile> open(const std::string& path, int32_t width);
  NpyFile(NpyFile&& other) noexcept;
  NpyFile& operator=(NpyFile&&) = delete;
  ~NpyFile();

  /// Appends rows, then says in front how many there are.
  ///   values   [n, width]
  ///   errors   file: the system's reason
  Result<void> write(std::span<const float> values);

 private:
  NpyFile(std::string path, int fd, int32_t width) : path_(std::move(path)), fd_(fd), width_(width) {}

  std::string path_;
  int fd_;
  int32_t width_;
  int64_t rows_ = 0;
};

}  // namespace fathom::cli
