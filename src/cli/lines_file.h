// LinesFile: lines of JSON in a file that replaces nothing but an earlier one of its kind. Next: lines_file.cc.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "src/trace/output_file.h"

namespace fathom::cli {

class LinesFile {
 public:
  ///   kind     named by the option that the path was given to
  ///   errors   file: those of open_output()
  static Result<LinesFile> open(const std::string& path, const OutputKind& kind);

  /// Writes and flushes.
  ///   errors   file: the option, the path, the system's reason
  Result<void> write(std::string_view text);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  LinesFile(std::string name, std::FILE* file) : name_(std::move(name)), file_(file) {}

  std::string name_;  // option and path
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace fathom::cli
