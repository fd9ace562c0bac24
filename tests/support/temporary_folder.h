// A folder that a test has for itself and that goes away with it. Next: tests/model/folder_test.cc.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace fathom::testing {

class TemporaryFolder : public ::testing::Test {
 protected:
  TemporaryFolder() : path_(::testing::TempDir() + "fathom_folder_" + std::to_string(getpid())) {
    std::filesystem::remove_all(path_);
  }
  ~TemporaryFolder() override { std::filesystem::remove_all(path_); }
  std::string file(const char* name) const { return path_ + "/" + name; }
  std::string path_;
};

}  // namespace fathom::testing
