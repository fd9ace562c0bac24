// What `fathom generate` is asked for, of one text and of a file of prompts. Next: generate.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/cli/command.h"
#include "src/cli/policy_choice.h"
#include "src/cli/prompt.h"
#include "src/cli/run_record.h"

namespace fathom::cli {

struct GenerateArgs {
  ModelArgs model;
  TextArgs text;
  TemplateArgs prompt;
  RunRecord run{.max_new_tokens = 128};
  std::optional<int64_t> ctx;
  PolicyArgs policy;
  std::string trace;
  std::string color = "auto";
  bool json = false;
  int32_t batch = 0;  // texts at once; 0: -p or -f is one text
};

/// `--batch`: continues each prompt of a JSONL file, a line of JSON for each in the file's order.
///   errors   format: a bad line; those of generating one text, with the line's number; all before any text is begun
Result<int> generate_lines(const GenerateArgs& args);

}  // namespace fathom::cli
