// PackedFile: the packed matrices of a model as a file, read in place of packing where everything matches.
// Next in the flow: model/weights_loader.cc, which asks for it.
//
// A file is a header, a table of hashes and the packed memory as it was. Its name is a hash of what was packed and how;
// the header repeats both in full, with the model file's size and time of change, and every slab of data has its hash:
// a file that is old, foreign, cut off or damaged is not used, and the next packing writes it anew. Two copies of one
// model with other times of change share a name, and take turns.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "fathom/core/result.h"
#include "fathom/core/threads.h"
#include "fathom/ops/linear.h"

namespace fathom {

/// Raise it whenever any pack() writes other bytes; tests/model/packed_file_test.cc notices.
inline constexpr uint32_t kPackedVersion = 2;

/// What the packed memory was made of.
struct PackedKey {
  uint64_t model = 0;       // Fingerprint::model
  uint64_t file_bytes = 0;  // of the model file
  int64_t changed_ns = 0;   // its time of change
  uint64_t layout = 0;      // XXH3 of every matrix's kernel, type, shape and packed size, and of kPackedVersion
  friend bool operator==(const PackedKey&, const PackedKey&) = default;
};

class PackedFile {
 public:
  /// The file of `key` in `folder`, which is made when something is written.
  PackedFile(const std::string& folder, const PackedKey& key);

  /// Fills `dst` from the file, slabs in parallel. False where there is no such file or anything does not match; then
  /// `dst` holds no meaning.
  ///   cost     reads the file once, at the speed of the page cache or the disk
  bool read(std::span<std::byte> dst, ThreadPool& pool) const;

  /// Writes a new file beside the old one and puts it in its place.
  ///   errors   file: the folder cannot be made or written; capacity: less than twice the size is free on its disk
  Result<void> write(std::span<const std::byte> packed, ThreadPool& pool) const;

  const std::string& path() const { return path_; }

 private:
  std::string folder_, path_;
  PackedKey key_;
};

/// The layout of planned matrices, in their order.
uint64_t hash_layout(std::span<const Linear* const> matrices);

}  // namespace fathom
