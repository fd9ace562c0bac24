// SHA-256 of files, and where the last answer is kept. Next in the flow: calibrate/fingerprint.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"

namespace fathom {

struct Sha256Options {
  /// A folder of the user's own where a digest is kept beside what the file was: device, inode, bytes, time of change
  /// of content and of status, in ns. One small file for each model file; empty: nothing is kept. What is old or
  /// mangled there is not believed, and trouble with the folder fails no call.
  std::string cache_folder = {};
  /// Called a few times a second; returning false ends the call.
  bool (*on_progress)(void* context, uint64_t done_bytes, uint64_t file_bytes) = nullptr;
  void* context = nullptr;
};

struct FileSha256 {
  std::string hex = {};          // 64 digits
  uint64_t bytes = 0;            // of the file
  bool from_cache = false;       // the file was not read
  std::string cache_error = {};  // why the digest could not be kept; empty: it was, or was not to be
};

/// The digest of a regular file.
///   errors   file: absent, unreadable, not a regular file, changed while it was read; cancelled
///   cost     reads the file once, 1 MiB at a time, at 0.4 to 2 GB/s; from the cache nothing
FATHOM_API Result<FileSha256> sha256_of_file(const std::string& path, const Sha256Options& options = {});

/// The digest of several files: that of the lines "NAME DIGEST" in the order of their paths, the name without folders.
/// Of a single one it is the file's own. `bytes` are those of all.
///   errors   those of sha256_of_file()
FATHOM_API Result<FileSha256> sha256_of_files(std::span<const std::string> paths, const Sha256Options& options = {});

/// The digest of bytes, 64 hex digits.
FATHOM_API std::string sha256_of(std::span<const std::byte> bytes);

}  // namespace fathom
