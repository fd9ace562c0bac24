// Folders that go with the test. Next: tests/support/sidecars.h, what some tests put there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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

}  // namespace fathom::testing
