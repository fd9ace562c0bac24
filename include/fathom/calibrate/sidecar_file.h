// SidecarFile: the file that calibration writes, as named sections; what stands in them is for others to know.
// Next in the flow: calibrate/manifest.h, the section that says what was calibrated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"

namespace fathom {

inline constexpr uint32_t kSidecarFormat = 1;
inline constexpr size_t kMaxSidecarSections = 64;
inline constexpr size_t kMaxSectionName = 31;                    // bytes of UTF-8
inline constexpr uint64_t kMaxSectionBytes = uint64_t{1} << 30;  // of one section
inline constexpr size_t kMaxJsonSectionBytes = size_t{8} << 20;  // of one that is read as JSON
inline constexpr std::string_view kSidecarStart = "FATHOMSC";    // the first bytes of each
inline constexpr int kMaxJsonDepth = 16;                         // arrays and objects inside one another
inline constexpr size_t kSectionAlign = 64;                      // of a section in the file, and in memory when mapped

/// The sections that Fathom writes. A file may hold others: they are kept and not looked at.
namespace section {
inline constexpr std::string_view kManifest = "manifest";  // JSON: everything that a second calibration would repeat
inline constexpr std::string_view kMeasured = "measured";  // JSON: timings, and what was chosen from them
inline constexpr std::string_view kParts = "parts";        // tensors
inline constexpr std::string_view kRouters = "routers";    // tensors; absent where none are used
inline constexpr std::string_view kReport = "report";      // JSON
}  // namespace section

struct SidecarSection {
  std::string name = {};
  std::span<const std::byte> bytes = {};  // borrowed: the writer's, or a part of the file that was read
};

/// A sidecar whose every byte was checked; immutable, cheap to copy.
class FATHOM_API SidecarFile {
 public:
  /// Maps a sidecar and checks it.
  ///   errors   file: absent, unreadable, not a regular file, changed meanwhile; format: not a sidecar, cut off,
  ///            damaged (the section is named); unsupported: written by a newer Fathom
  ///   cost     reads the file once
  static Result<SidecarFile> open(const std::string& path);

  /// The same from bytes in memory, which must outlive it.
  static Result<SidecarFile> from_bytes(std::span<const std::byte> bytes);

  /// In the file's order, unknown ones too; they live as long as a copy of this does.
  std::span<const SidecarSection> sections() const noexcept;
  const SidecarSection* find(std::string_view name) const noexcept;  // null: there is none

  /// A section that must be there.
  ///   errors   format: it is not
  Result<std::span<const std::byte>> section(std::string_view name) const;

  /// A section's text, which is JSON of at most kMaxJsonSectionBytes, nested kMaxJsonDepth deep at most.
  ///   errors   format: no such section, no JSON (the byte is named), no UTF-8, too deep; capacity: too long, or an
  ///            object of more than 1024 fields
  Result<std::string_view> json(std::string_view name) const;

  std::span<const std::byte> bytes() const noexcept;  // of the whole file
  const std::string& path() const noexcept;           // empty: bytes in memory

 private:
  struct Impl;
  explicit SidecarFile(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

/// A file's bytes: the same for the same sections in the same order, everywhere.
///   errors   argument: no sections or too many, a name that is empty, too long, twice there or no printable UTF-8;
///            capacity: a section over kMaxSectionBytes
FATHOM_API Result<std::vector<std::byte>> sidecar_bytes(std::span<const SidecarSection> sections);

/// Writes a sidecar so that `path` holds either what it held before or all of the new file, whatever fails.
///   errors   those of sidecar_bytes(); file: the disk is full, the folder cannot be written, or something that is no
///            sidecar lies at `path`, which stays as it was
///   cost     writes the file once and waits until the disk has it
FATHOM_API Result<void> write_sidecar(const std::string& path, std::span<const SidecarSection> sections);

}  // namespace fathom
