// SHA-256 by libcrypto, and the file that remembers a digest. Next in the flow: fingerprint.cc.
//
// A file of the cache is one line of text: "fathom sha256 1", what the file was (device, inode, bytes, ns of change of
// content, ns of change of status), the digest, and XXH3 of all that. The change of status is there because a program
// can set the time of content back, and not that one. A file that changed within the clock's last tick is not
// remembered: it may change once more and show the same times.
#include "fathom/calibrate/sha256.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <vector>

#include "src/calibrate/hex.h"
#include "src/calibrate/whole_file.h"
#include "src/core/folders.h"

namespace fathom {
namespace {

constexpr size_t kChunk = size_t{1} << 20;
constexpr int64_t kTickNs = 100'000'000;  // file systems stamp by the timer tick, 1 to 10 ms
constexpr auto kProgressEvery = std::chrono::milliseconds(100);

/// A digest under way. libcrypto fails only where memory ends or the algorithm is switched off.
class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    good_ = context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
  }
  void add(const void* data, size_t bytes) { good_ = good_ && EVP_DigestUpdate(context_.get(), data, bytes) == 1; }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (!good_ || EVP_DigestFinal_ex(context_.get(), digest, &n) != 1) throw std::bad_alloc();
    std::string text;
    for (unsigned int i = 0; i < n; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
  bool good_ = false;
};

int64_t ns_of(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return ns_of(now);
}

/// What a file was when it was looked at.
struct FileState {
  uint64_t device = 0, inode = 0, bytes = 0;
  int64_t content_ns = 0, status_ns = 0;

  std::string text() const { return fmt::format("{} {} {} {} {}", device, inode, bytes, content_ns, status_ns); }
  bool settled(int64_t now) const { return std::max(content_ns, status_ns) < now - kTickNs; }
};

Result<FileState> state_of(int fd, const std::string& path) {
  struct stat s {};
  if (fstat(fd, &s) != 0) {
    return Error{ErrorCode::file, fmt::format("file {}: cannot be examined: {}: check the file system", path,
                                              std::generic_category().message(errno))};
  }
  if (!S_ISREG(s.st_mode)) {
    return Error{ErrorCode::file, fmt::format("file {}: is not a regular file: give one", path)};
  }
  return FileState{s.st_dev, s.st_ino, static_cast<uint64_t>(s.st_size), ns_of(s.st_mtim), ns_of(s.st_ctim)};
}

/// The file of the cache that belongs to an inode; a new state of the file takes the place of the old one.
std::string cache_path(const std::string& folder, const FileState& state) {
  const uint64_t key[] = {state.device, state.inode};
  return fmt::format("{}/{:016x}.sha256", folder, XXH3_64bits(key, sizeof key));
}

std::string cache_text(const FileState& state, std::string_view hex) {
  std::string text = fmt::format("fathom sha256 1 {} {} ", state.text(), hex);
  return text + fmt::format("{:016x}\n", XXH3_64bits(text.data(), text.size()));
}

/// The digest that was kept for exactly this state; empty: none.
std::string cached(const std::string& folder, const FileState& state) {
  constexpr size_t kMost = 512;
  const auto text = read_small_file(cache_path(folder, state), "digest", kMost);
  if (!text) return {};
  const size_t begin = cache_text(state, "").size() - 18;  // before the digest's blank, checksum and newline
  if (text->size() < begin) return {};
  const std::string hex = text->substr(begin, kSha256Digits);
  return is_hex(hex, kSha256Digits) && *text == cache_text(state, hex) ? hex : std::string();
}

/// Why it could not be kept; empty: it was.
std::string keep(const std::string& folder, const FileState& state, std::string_view hex) {
  if (!make_folders(folder)) {
    return fmt::format("digest folder {}: {}: give one that can be written, or none", folder,
                       std::generic_category().message(errno));
  }
  const OutputKind kind = {.name = "digest", .first = {}, .foreign = {}};
  const auto written = write_whole_file(cache_path(folder, state), kind, cache_text(state, hex));
  return written ? std::string() : written.error().message;
}

/// Reads the file to its end.
Result<std::string> digest_of(int fd, const std::string& path, uint64_t bytes, const Sha256Options& options) {
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  std::vector<char> chunk(kChunk);
  Digest digest;
  auto told = std::chrono::steady_clock::now();
  for (uint64_t done = 0;;) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return Error{ErrorCode::file, fmt::format("file {}: cannot be read: {}: check the disk", path,
                                                std::generic_category().message(errno))};
    }
    digest.add(chunk.data(), static_cast<size_t>(n));
    done += static_cast<uint64_t>(n);
    const auto now = std::chrono::steady_clock::now();
    if (options.on_progress != nullptr && (n == 0 || now - told >= kProgressEvery)) {
      told = now;
      if (!options.on_progress(options.context, done, bytes)) {
        return Error{ErrorCode::cancelled, fmt::format("file {}: stopped after {} of {} bytes", path, done, bytes)};
      }
    }
    if (n == 0) return digest.hex();
  }
}

}  // namespace

Result<FileSha256> sha256_of_file(const std::string& path, const Sha256Options& options) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.open()) {
    return Error{ErrorCode::file, fmt::format("file {}: cannot be opened: {}: check the path and its permissions", path,
                                              std::generic_category().message(errno))};
  }
  const int64_t begun = now_ns();
  FATHOM_TRY(const FileState state, state_of(file.get(), path));
  FileSha256 result;
  result.bytes = state.bytes;
  if (!options.cache_folder.empty()) result.hex = cached(options.cache_folder, state);
  result.from_cache = !result.hex.empty();
  if (result.from_cache) return result;
  FATHOM_TRY(result.hex, digest_of(file.get(), path, state.bytes, options));
  FATHOM_TRY(const FileState after, state_of(file.get(), path));
  if (after.bytes != state.bytes || after.content_ns != state.content_ns) {
    return Error{ErrorCode::file, fmt::format("file {}: changed while it was being read: replace files by renaming a "
                                              "finished copy, and try again",
                                              path)};
  }
  if (!options.cache_folder.empty() && state.settled(begun)) {
    result.cache_error = keep(options.cache_folder, state, result.hex);
  }
  return result;
}

Result<FileSha256> sha256_of_files(std::span<const std::string> paths, const Sha256Options& options) {
  if (paths.size() == 1) return sha256_of_file(paths.front(), options);
  std::vector<std::string> sorted(paths.begin(), paths.end());
  std::sort(sorted.begin(), sorted.end());
  FileSha256 all{.from_cache = true};
  std::string lines;
  for (const std::string& path : sorted) {
    FATHOM_TRY(const FileSha256 one, sha256_of_file(path, options));
    lines += fmt::format("{} {}\n", path.substr(path.rfind('/') + 1), one.hex);
    all.bytes += one.bytes;
    all.from_cache &= one.from_cache;
    if (!one.cache_error.empty()) all.cache_error = one.cache_error;
  }
  all.hex = sha256_of(std::as_bytes(std::span(lines)));
  return all;
}

std::string sha256_of(std::span<const std::byte> bytes) {
  Digest digest;
  digest.add(bytes.data(), bytes.size());
  return digest.hex();
}

}  // namespace fathom
