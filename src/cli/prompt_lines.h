// Prompts as JSONL: one object a line, from a file that anyone may have written. Next: prompt_lines.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"
#include "src/cli/command.h"

namespace fathom::cli {

struct PromptLine {
  std::string text = {};
  Json id = {};  // a string or a whole number; null: not given
  std::optional<uint64_t> seed = {};
};

/// What a line may hold. No other field is known, so that a misspelt one is not passed over.
struct LineForm {
  bool seed = true;         // beside text and id
  bool empty_text = false;  // a text may be empty
};

/// Reads one line.
///   errors   format: its fault, the remedy
///   memory   nothing nested is ever built
Result<PromptLine> read_prompt_line(std::string_view text, const LineForm& form);

/// Reads all lines; the first one that is wrong refuses the file.
///   name     what errors call the file
///   errors   format: the line's number, its fault, the remedy
Result<std::vector<PromptLine>> read_prompt_lines(std::string_view jsonl, std::string_view name);

}  // namespace fathom::cli
