// Runs the built `fathom` as a user does: a process with arguments, two outputs and an exit code. Next: cli_test.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom::testing {

struct Ran {
  int code = -1;  // exit code; 128 + signal when one ended it
  std::string out, err;
};

struct SpawnOptions {
  std::string input = {};                     // standard input
  std::vector<std::string> environment = {};  // NAME=VALUE, added to a small fixed one
  int64_t interrupt_after_bytes = -1;         // SIGINT once stdout holds as many,
  std::string watched = {};                   // or this file, where it is named
};

/// Runs the command to its end, at most 60 seconds.
Ran fathom_command(const std::vector<std::string>& args, const SpawnOptions& options = {});

/// A path under the test's temporary folder, and a file there.
std::string temporary_path(const std::string& name);
std::string temporary_file(const std::string& name, const std::string& content);
std::string file_content(const std::string& path);

}  // namespace fathom::testing
