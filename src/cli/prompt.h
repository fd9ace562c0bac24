// Texts into prompts, and the positions that prompts need: for one text and for a file of them. Next: generate.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/model/model_file.h"
#include "fathom/text/chat.h"

namespace fathom::cli {

/// `--chat` and `--system`.
struct TemplateArgs {
  bool chat = false;
  std::string system = {};
};

/// Makes prompts of texts: as they are, or as the user's message in the model's chat template.
class PromptMaker {
 public:
  ///   errors   unsupported: a template is asked for, and the file has none that is known
  static Result<PromptMaker> make(const ModelFile& file, const TemplateArgs& args);

  ///   errors   capacity: a text far beyond what the model was made for, before it is cut into tokens
  Result<std::vector<int32_t>> ids(const std::string& text) const;

 private:
  PromptMaker(const ModelFile& file, std::string system) : file_(file), system_(std::move(system)) {}

  ModelFile file_;
  std::optional<ChatTemplate> chat_ = {};
  std::string system_;
};

/// Whether a prompt fits: --ctx, or what the model was made for.
///   errors   argument: --ctx out of range; capacity: the prompt is longer
Result<void> check_prompt(size_t tokens, const std::optional<int64_t>& ctx, const ModelConfig& config);

/// Positions of a sequence: --ctx, or what the longest prompt and the new tokens need, as far as the model goes.
///   errors   argument: --ctx out of range
Result<int32_t> context_for(size_t longest, int32_t new_tokens, const std::optional<int64_t>& ctx,
                            const ModelConfig& config);

}  // namespace fathom::cli
