// What verbs of encoders share: where texts are cut, and that the model is one. Next: encoder_options.cc.
#pragma once

#include <cstdint>
#include <optional>

#include "fathom/engine/embed.h"
#include "src/cli/command.h"

namespace fathom::cli {

/// `--max-tokens`, whose range is the model's: encoder_options() checks it.
void add_max_tokens_option(CLI::App& verb, std::optional<int64_t>& max_tokens);

///   errors   argument: the model predicts tokens; a length that it was not made for
Result<EncoderOptions> encoder_options(const ModelArgs& args, std::optional<int64_t> max_tokens,
                                       const ModelConfig& config);

}  // namespace fathom::cli
