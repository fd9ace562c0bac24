// What goes into a sidecar's sections, and sidecars that are read before they are written. Next: sidecar_file.cc.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/sidecar_file.h"

namespace fathom {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// write_sidecar() of sections with a manifest; what could not be read again is not written.
///   errors   those of read_manifest() and write_sidecar()
inline Result<void> write_readable(const std::string& path, std::span<const SidecarSection> sections) {
  FATHOM_TRY(const std::vector<std::byte> bytes, sidecar_bytes(sections));
  FATHOM_TRY(const SidecarFile file, SidecarFile::from_bytes(bytes));
  FATHOM_TRY(read_manifest(file));
  return write_sidecar(path, sections);
}

}  // namespace fathom
