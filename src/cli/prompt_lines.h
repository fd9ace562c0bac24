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

/// Reads all lines; the first one that is wrong refuses the file. No field but text, id and seed is known, so that a
/// misspelt one is not passed over.
///   name     what errors call the file
///   errors   format: the line's number, its fault, the remedy
///   memory   nothing nested is ever built
Result<std::vector<PromptLine>> read_prompt_lines(std::string_view jsonl, std::string_view name);

}  // namespace fathom::cli
