// Prompts: from a text, in a template or not, within the context. Next: generate.cc.
#include "src/cli/prompt.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/cli/command.h"

namespace fathom::cli {

Result<PromptMaker> PromptMaker::make(const ModelFile& file, const TemplateArgs& args) {
  PromptMaker maker(file, args.system);
  if (args.chat) {
    FATHOM_TRY(maker.chat_, ChatTemplate::make(file.tokenizer()));
  }
  return maker;
}

Result<std::vector<int32_t>> PromptMaker::ids(const std::string& text) const {
  const Tokenizer& tokenizer = file_.tokenizer();
  const int32_t context = file_.config().context;
  if (const size_t least = tokenizer.at_least(text); least > static_cast<size_t>(context)) {
    return Error{ErrorCode::capacity, fmt::format("a prompt of {} bytes, at least {} tokens, in a context of {}: "
                                                  "shorten it",
                                                  text.size(), least, context)};
  }
  if (!chat_) return tokenizer.encode(text);
  std::vector<ChatMessage> messages;
  if (!system_.empty()) messages.push_back({"system", system_});
  messages.push_back({"user", text});
  return chat_->encode(messages);
}

Result<void> check_prompt(size_t tokens, const std::optional<int64_t>& ctx, const ModelConfig& config) {
  FATHOM_TRY(const int32_t room, read_context(ctx.value_or(config.context), 1, config));
  if (tokens <= static_cast<size_t>(room)) return {};
  return Error{ErrorCode::capacity,
               fmt::format("a prompt of {} tokens in a context of {}: shorten it or raise --ctx (the model was made "
                           "for {})",
                           tokens, room, config.context)};
}

Result<int32_t> context_for(size_t longest, int32_t new_tokens, const std::optional<int64_t>& ctx,
                            const ModelConfig& config) {
  const int64_t needed = static_cast<int64_t>(longest) + new_tokens;
  return read_context(ctx.value_or(std::min<int64_t>(config.context, needed)), 1, config);
}

}  // namespace fathom::cli
