// The header is as long for one row as for 2^63, so that it can be written again. Next: embed.cc.
// Source: numpy.lib.format, version 1.0. Numbers are little-endian, as every machine here.
#include "src/cli/npy_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include "src/trace/output_file.h"

namespace fathom::cli {
namespace {

using namespace std::string_view_literals;

constexpr size_t kHeaderBytes = 128;
// numpy writes the fields in another order, which tells its files from ours: 118 bytes follow the length.
constexpr std::string_view kStart = "\x93NUMPY\x01\x00\x76\x00{'fortran_order': False, 'descr': '<f4', 'shape': ("sv;

Result<void> write_at(int fd, const std::string& path, std::string_view bytes, int64_t at) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return Error{ErrorCode::file, fmt::format("--npy {}: {}: give a path that can be written", path,
                                                std::generic_category().message(errno))};
    }
    bytes.remove_prefix(static_cast<size_t>(n));
    at += n;
  }
  return {};
}

}  // namespace

Result<NpyFile> NpyFile::open(const std::string& path, int32_t width) {
  FATHOM_TRY(const int fd,
             open_output(path, {.name = "--npy", .first = kStart, .foreign = "exists and was not written by --npy"}));
  NpyFile file(path, fd, width);
  FATHOM_TRY(file.write({}));
  return file;
}

NpyFile::NpyFile(NpyFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), width_(other.width_), rows_(other.rows_) {}

NpyFile::~NpyFile() {
  if (fd_ >= 0) close(fd_);
}

Result<void> NpyFile::write(std::span<const float> values) {
  const std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  const int64_t row_bytes = int64_t{width_} * static_cast<int64_t>(sizeof(float));
  FATHOM_TRY(write_at(fd_, path_, bytes, static_cast<int64_t>(kHeaderBytes) + rows_ * row_bytes));
  rows_ += static_cast<int64_t>(values.size()) / width_;
  std::string header(kStart);
  header += fmt::format("{}, {}), }}", rows_, width_);
  header.resize(kHeaderBytes - 1, ' ');
  return write_at(fd_, path_, header + '\n', 0);
}

}  // namespace fathom::cli
