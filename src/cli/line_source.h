// LineSource: a file or standard input, line by line, as much at a time as is there. Next: line_source.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fathom/core/result.h"

namespace fathom::cli {

class LineSource {
 public:
  static constexpr size_t kMaxLineBytes = size_t{64} << 20;

  struct Line {
    int64_t number = 0;  // from 1
    std::string text = {};
    bool too_long = false;  // over kMaxLineBytes, and passed over
  };

  ///   path     "-" is standard input
  ///   errors   file: what the system says
  static Result<LineSource> open(const std::string& path);
  LineSource(LineSource&& other) noexcept;
  LineSource& operator=(LineSource&&) = delete;
  ~LineSource();

  /// What errors call it.
  const std::string& name() const { return name_; }

  /// The next line, without its end; nothing behind the last one, or after an interrupt.
  ///   errors   file: what the system says
  ///   memory   one line and 64 KB
  Result<std::optional<Line>> next();

  /// Whether next() would give something without waiting for whoever writes.
  bool ready();

 private:
  LineSource(std::string name, int fd) : name_(std::move(name)), fd_(fd) {}
  bool has_line();
  Result<void> read_more();
  Line take(size_t end);

  std::string name_;
  int fd_;
  std::string held_ = {};  // read and not given out yet, from begin_ on
  size_t begin_ = 0;
  size_t end_ = 0;  // of the first line, where has_line()
  int64_t number_ = 0;
  bool too_long_ = false;  // the line that held_ begins in the middle of
  bool ended_ = false;
};

}  // namespace fathom::cli
