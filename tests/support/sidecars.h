// Small sidecars, to put into a test's own folder. Next: sidecars.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/sidecar_file.h"
#include "tests/support/temporary_folder.h"

namespace fathom::testing {

std::string read_bytes(const std::string& path);
void write_bytes(const std::string& path, std::string_view bytes);

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A manifest with every field, for a model of 12 layers.
Manifest small_manifest(const std::string& policy = "exit_when(confidence_at_least=0.9) | min_depth(layers=6)");

/// Writes FOLDER/NAME.fathom.
void put_sidecar(const std::string& folder, const std::string& name, const Manifest& manifest);

}  // namespace fathom::testing
