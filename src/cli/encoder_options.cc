// Reading what verbs of encoders share. Next: text_blocks.h, the texts that they are given.
#include "src/cli/encoder_options.h"

#include <fmt/format.h>

#include "src/cli/options.h"

namespace fathom::cli {

void add_max_tokens_option(CLI::App& verb, std::optional<int64_t>& max_tokens) {
  const auto set = [&max_tokens](const std::string& text) {
    max_tokens = whole_number<int64_t>(text);
    if (!max_tokens) throw CLI::ValidationError("--max-tokens", "give a whole number");
  };
  verb.add_option_function<std::string>(
          "--max-tokens", set,
          "Where a longer text is cut; default: the model's own, at most the context of fathom info")
      ->type_name("INT");
}

Result<EncoderOptions> encoder_options(const ModelArgs& args, std::optional<int64_t> max_tokens,
                                       const ModelConfig& config) {
  if (!config.encodes()) {
    return Error{ErrorCode::argument, fmt::format("model {}: family {} predicts tokens: give an encoder, such as "
                                                  "minilm-l6",
                                                  args.model, config.family)};
  }
  EncoderOptions options{.threads = args.threads};
  if (!max_tokens) return options;
  if (*max_tokens < Encoder::kLeastTokens || *max_tokens > config.context) {
    return Error{ErrorCode::argument,
                 fmt::format("--max-tokens {}: give {} to {}, the most that the model was made for", *max_tokens,
                             Encoder::kLeastTokens, config.context)};
  }
  options.max_tokens = static_cast<int32_t>(*max_tokens);
  return options;
}

}  // namespace fathom::cli
