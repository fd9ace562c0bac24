// Texts a line of JSON each, a block at a time: as many as fill the machine, or as are there. Next: text_blocks.cc.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"
#include "src/cli/line_source.h"
#include "src/cli/prompt_lines.h"

namespace fathom::cli {

struct TextBlock {
  std::vector<int64_t> numbers;  // of lines
  std::vector<PromptLine> lines;
  size_t bytes = 0;
  bool ended = false;       // no line follows
  Result<void> state = {};  // why none does

  std::vector<std::string_view> texts() const;
};

class TextReader {
 public:
  /// `skips`: lines that cannot be read are counted and left out, the first of them named; else the first ends it.
  TextReader(LineSource source, bool skips) : source_(std::move(source)), skips_(skips) {}

  /// The next lines: as many as a block holds, or as are there before one would have to be waited for.
  TextBlock next();
  int64_t bad() const { return bad_; }

 private:
  Result<void> take(const LineSource::Line& line, TextBlock& block);

  LineSource source_;
  bool skips_;
  int64_t bad_ = 0;
};

}  // namespace fathom::cli
