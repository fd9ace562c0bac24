// Folders that go with the test, and small sidecars to put there. Next: sidecars.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/sidecar_file.h"

namespace fathom::testing {

/// Names of what is in a folder, sorted.
std::vector<std::string> names_in(const std::string& folder);

/// A new folder that is gone with this.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  std::vector<std::string> names() const;

 private:
  std::string path_;
};

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
