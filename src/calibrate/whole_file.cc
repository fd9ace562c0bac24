// write_whole_file: a file beside the old one, then a rename. Next in the flow: sidecar_file.cc.
#include "src/calibrate/whole_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <system_error>

namespace fathom {
namespace {

Error system_error(std::string_view kind, const std::string& path, std::string_view what, std::string_view remedy) {
  return {ErrorCode::file,
          fmt::format("{} {}: {}: {}: {}", kind, path, what, std::generic_category().message(errno), remedy)};
}

/// Reads until `bytes` are there or the file ends; negative with errno where it cannot.
ssize_t read_up_to(int fd, char* dst, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::read(fd, dst + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

/// The bytes that a regular file begins with, at most so many; false where they cannot be read.
bool read_start(const std::string& path, size_t most, std::string& start) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat s {};
  if (!file.open() || fstat(file.get(), &s) != 0 || !S_ISREG(s.st_mode)) return false;
  start.resize(most);
  const ssize_t n = read_up_to(file.get(), start.data(), most);
  start.resize(static_cast<size_t>(std::max<ssize_t>(n, 0)));
  return n >= 0;
}

/// Whether a regular file is empty or begins as files of this kind do.
bool own(const std::string& path, std::string_view first) {
  std::string start;
  return read_start(path, first.size(), start) && (start.empty() || start == first);
}

/// The path to replace: what a symbolic link leads to, and nothing but a regular file of this kind.
Result<std::string> place_of(const std::string& path, const OutputKind& kind) {
  struct stat s {};
  if (lstat(path.c_str(), &s) != 0) {
    if (errno == ENOENT) return path;
    return system_error(kind.name, path, "cannot be examined", "give a path that can be written");
  }
  std::string place = path;
  if (S_ISLNK(s.st_mode)) {
    const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
    if (real == nullptr || stat(real.get(), &s) != 0) {
      return system_error(kind.name, path, "the link leads nowhere", "give a path that can be written");
    }
    place = real.get();
  }
  if (!S_ISREG(s.st_mode)) {
    return Error{ErrorCode::file, fmt::format("{} {}: is not a regular file: give another path", kind.name, path)};
  }
  if (!kind.first.empty() && !own(place, kind.first)) {
    return Error{ErrorCode::file, fmt::format("{} {}: {}: give another path", kind.name, path, kind.foreign)};
  }
  return place;
}

/// A new file beside `place`, which is gone with this unless it was put there.
class Unfinished {
 public:
  explicit Unfinished(const std::string& place) : place_(place) {
    static std::atomic<uint32_t> count{0};
    do {  // a number is met again only where a process that was cut off had ours
      path_ = fmt::format("{}.unfinished-{}-{}", place, getpid(), count.fetch_add(1));
      file_ = Descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    } while (!file_.open() && errno == EEXIST);
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() {
    if (file_.open() && !placed_) ::unlink(path_.c_str());
  }

  bool open() const { return file_.open(); }
  bool write(std::span<const std::span<const std::byte>> pieces) const {
    return std::all_of(pieces.begin(), pieces.end(), [&](auto piece) { return write_all(file_.get(), piece); });
  }
  bool put_in_place() {
    placed_ = fsync(file_.get()) == 0 && ::rename(path_.c_str(), place_.c_str()) == 0;
    return placed_;
  }

 private:
  std::string place_, path_;
  Descriptor file_;
  bool placed_ = false;
};

/// Makes a rename last through a loss of power, where the file system can.
void sync_folder_of(const std::string& place) {
  const size_t slash = place.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : place.substr(0, std::max<size_t>(slash, 1));
  const Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.open()) (void)fsync(opened.get());
}

}  // namespace

Result<void> check_place(const std::string& path, const OutputKind& kind) {
  FATHOM_TRY(const std::string place, place_of(path, kind));
  const Unfinished probe(place);
  if (!probe.open()) return system_error(kind.name, path, "cannot be made", "give a path that can be written");
  return {};
}

bool begins_with(const std::string& path, std::string_view first) {
  std::string start;
  return read_start(path, first.size(), start) && start == first;
}

bool write_all(int fd, std::span<const std::byte> bytes) noexcept {
  constexpr size_t kMostAtOnce = size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), std::min(bytes.size(), kMostAtOnce));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return true;
}

Result<void> write_whole_file(const std::string& path, const OutputKind& kind,
                              std::span<const std::span<const std::byte>> pieces) {
  FATHOM_TRY(const std::string place, place_of(path, kind));
  Unfinished file(place);
  if (!file.open()) return system_error(kind.name, path, "cannot be made", "give a path that can be written");
  if (!file.write(pieces) || !file.put_in_place()) {
    return system_error(kind.name, path, "cannot be written", "free space on its disk, or give another path");
  }
  sync_folder_of(place);
  return {};
}

Result<void> write_whole_file(const std::string& path, const OutputKind& kind, std::string_view text) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text.data(), text.size()));
  return write_whole_file(path, kind, std::span(&piece, 1));
}

Result<std::string> read_small_file(const std::string& path, std::string_view kind, size_t most) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat s {};
  if (!file.open() || fstat(file.get(), &s) != 0) return system_error(kind, path, "cannot be read", "check the path");
  if (!S_ISREG(s.st_mode)) {
    return Error{ErrorCode::file, fmt::format("{} {}: is not a regular file: take it away", kind, path)};
  }
  std::string text(std::min(static_cast<size_t>(s.st_size), most) + 1, '\0');
  const ssize_t n = read_up_to(file.get(), text.data(), text.size());
  if (n < 0) return system_error(kind, path, "cannot be read", "check the disk");
  if (static_cast<size_t>(n) > most) {
    return Error{ErrorCode::capacity, fmt::format("{} {}: longer than {} bytes: take it away", kind, path, most)};
  }
  text.resize(static_cast<size_t>(n));
  return text;
}

}  // namespace fathom
