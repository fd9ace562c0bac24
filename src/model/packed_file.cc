// PackedFile: reading with every doubt settled first, writing without ever leaving half a file under the right name.
#include "src/model/packed_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "src/core/folders.h"

#define XXH_STATIC_LINKING_ONLY  // the streaming state by value
#include <xxhash.h>

namespace fathom {
namespace {

constexpr size_t kSlab = size_t{4} << 20;  // bytes that share one hash and are read by one thread at a time
constexpr size_t kAlign = 4096;            // of the data in the file

struct Header {
  char magic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'P', 'K'};
  uint32_t version = kPackedVersion;
  uint32_t slab = kSlab;
  PackedKey key;
  uint64_t bytes = 0;   // of data
  uint64_t hashes = 0;  // XXH3 of the table of hashes
};
static_assert(std::has_unique_object_representations_v<Header>);

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool open() const { return fd_ >= 0; }
  uint64_t size() const {
    struct stat s {};
    return fstat(fd_, &s) == 0 && S_ISREG(s.st_mode) ? static_cast<uint64_t>(s.st_size) : 0;
  }
  /// Locks a regular file and gives it its size.
  bool claim(uint64_t bytes) const {
    struct stat s {};
    return fstat(fd_, &s) == 0 && S_ISREG(s.st_mode) && flock(fd_, LOCK_EX | LOCK_NB) == 0 && ftruncate(fd_, 0) == 0 &&
           ftruncate(fd_, static_cast<off_t>(bytes)) == 0;
  }
  bool read(void* dst, size_t bytes, uint64_t at) const {
    return all(bytes, [&](size_t done) {
      return ::pread(fd_, static_cast<char*>(dst) + done, bytes - done, static_cast<off_t>(at + done));
    });
  }
  bool write(const void* src, size_t bytes, uint64_t at) const {
    return all(bytes, [&](size_t done) {
      return ::pwrite(fd_, static_cast<const char*>(src) + done, bytes - done, static_cast<off_t>(at + done));
    });
  }

 private:
  template <class Step>
  static bool all(size_t bytes, Step step) {
    for (size_t done = 0; done < bytes;) {
      const ssize_t n = step(done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<size_t>(n);
    }
    return true;
  }

  int fd_;
};

size_t n_slabs(size_t bytes) { return (bytes + kSlab - 1) / kSlab; }

/// Where data begins: behind the header and the hashes of its slabs.
size_t data_begin(size_t bytes) {
  return (sizeof(Header) + n_slabs(bytes) * sizeof(uint64_t) + kAlign - 1) / kAlign * kAlign;
}

/// Calls slab(i, begin, size) for every slab, in parallel; false where one of them is, with errno as that thread saw
/// it.
template <class Slab>
bool for_slabs(size_t bytes, ThreadPool& pool, Slab slab) {
  std::atomic<bool> good{true};
  std::atomic<int> why{0};
  pool.run(static_cast<int64_t>(n_slabs(bytes)), [&](int64_t i) {
    const size_t begin = static_cast<size_t>(i) * kSlab;
    if (!good.load() || slab(static_cast<size_t>(i), begin, std::min(kSlab, bytes - begin))) return;
    why.store(errno);
    good.store(false);
  });
  errno = why.load();
  return good.load();
}

uint64_t hash_table(const std::vector<uint64_t>& hashes) {
  return XXH3_64bits(hashes.data(), hashes.size() * sizeof(uint64_t));
}

Error cannot(const std::string& path, const char* what) {
  return {ErrorCode::file, fmt::format("packed weights {}: {}: {}: give a folder that can be written, or none", path,
                                       what, std::strerror(errno))};
}

}  // namespace

PackedFile::PackedFile(const std::string& folder, const PackedKey& key) : folder_(folder), key_(key) {
  const uint64_t name[] = {key.model, key.layout};
  path_ = fmt::format("{}/{:016x}.packed", folder, XXH3_64bits(name, sizeof name));
}

bool PackedFile::read(std::span<std::byte> dst, ThreadPool& pool) const {
  const File file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  Header header;
  if (!file.open() || file.size() != data_begin(dst.size()) + dst.size()) return false;
  if (!file.read(&header, sizeof header, 0)) return false;
  std::vector<uint64_t> hashes(n_slabs(dst.size()));
  if (!file.read(hashes.data(), hashes.size() * sizeof(uint64_t), sizeof header)) return false;
  Header expected;
  expected.key = key_;
  expected.bytes = dst.size();
  expected.hashes = hash_table(hashes);
  if (std::memcmp(&header, &expected, sizeof header) != 0) return false;
  return for_slabs(dst.size(), pool, [&](size_t i, size_t begin, size_t size) {
    return file.read(dst.data() + begin, size, data_begin(dst.size()) + begin) &&
           XXH3_64bits(dst.data() + begin, size) == hashes[i];
  });
}

Result<void> PackedFile::write(std::span<const std::byte> packed, ThreadPool& pool) const {
  if (!make_folders(folder_)) return cannot(folder_, "the folder cannot be made");
  struct statvfs disk {};
  if (statvfs(folder_.c_str(), &disk) == 0 && uint64_t{disk.f_bavail} * disk.f_frsize < 2 * uint64_t{packed.size()}) {
    return Error{ErrorCode::capacity,
                 fmt::format("packed weights {}: less than {} bytes are free: free some, or give no folder", path_,
                             2 * packed.size())};
  }
  // One unfinished file at most: whoever was cut off while writing left it, and the next writer takes it over.
  const std::string unfinished = path_ + ".unfinished";
  const File file(::open(unfinished.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600));
  if (!file.open()) return cannot(unfinished, "cannot be made");
  if (!file.claim(data_begin(packed.size()) + packed.size()))
    return cannot(unfinished, "is being written, or cannot be");
  std::vector<uint64_t> hashes(n_slabs(packed.size()));
  bool good = for_slabs(packed.size(), pool, [&](size_t i, size_t begin, size_t size) {
    hashes[i] = XXH3_64bits(packed.data() + begin, size);
    return file.write(packed.data() + begin, size, data_begin(packed.size()) + begin);
  });
  Header header;
  header.key = key_;
  header.bytes = packed.size();
  header.hashes = hash_table(hashes);
  good = good && file.write(hashes.data(), hashes.size() * sizeof(uint64_t), sizeof header) &&
         file.write(&header, sizeof header, 0) && ::rename(unfinished.c_str(), path_.c_str()) == 0;
  if (good) return {};
  const Error error = cannot(path_, "cannot be written");
  ::unlink(unfinished.c_str());
  return error;
}

uint64_t hash_layout(std::span<const Linear* const> matrices) {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  const auto add = [&](const auto& value) { XXH3_64bits_update(&state, &value, sizeof value); };
  add(kPackedVersion);
  for (const Linear* m : matrices) {
    const std::string_view kernel = m->kernel->name;
    XXH3_64bits_update(&state, kernel.data(), kernel.size() + 1);
    add(m->matrix.type);
    add(m->matrix.rows);
    add(m->matrix.cols);
    add(m->kernel->activation == Activation::f32);  // plain and expanded panels; q8 and q12 share theirs
    if (m->kernel->activation == Activation::bf16) add(Activation::bf16);
    add(m->packed_bytes);
  }
  return XXH3_64bits_digest(&state);
}

}  // namespace fathom
