// Streaming and the summary line. Next: generate.cc.
#include "src/cli/stream.h"

#include <fmt/format.h>

#include "fathom/calibrate/adaptation.h"
#include "src/cli/options.h"

namespace fathom::cli {
namespace {

// Only an interrupt cancels a text of the command.
std::string_view reason_of(const Generation& out) {
  return out.stop_reason == StopReason::cancelled ? "interrupt" : name(out.stop_reason);
}

std::string count(size_t tokens) { return fmt::format("{} token{}", tokens, tokens == 1 ? "" : "s"); }

}  // namespace

void Stream::write(const GeneratedToken& token) {
  const std::string_view text = token.text;
  drafted_ |= token.drafted;
  if (text.empty() || !state_) return;
  line_begun_ = text.back() != '\n';
  if (color_) {
    state_ = print(picture_.paint(text, token.depth, token.drafted));
  } else {
    state_ = print(terminal_ ? harmless(text) : std::string(text));
  }
}

Result<void> Stream::finish() {
  if (state_ && color_) state_ = print("\x1b[K");
  if (state_ && line_begun_) state_ = print("\n");
  if (state_ && color_) state_ = print(picture_.legend(drafted_) + "\n");
  return state_;
}

void add_color_option(CLI::App& verb, std::string& color) {
  auto* option = verb.add_option("--color", color, "Shade tokens by depth: auto, always or never");
  let_be_one_of(*option->capture_default_str(), {"auto", "always", "never"});
}

Json result_of(const Generation& g, const Model& model, const Policy& policy) {
  return {{"text", g.text},
          {"tokens", g.tokens},
          {"prompt_tokens", g.prompt_tokens},
          {"n_layers", model.config().n_layers},
          {"mean_depth", g.mean_depth},
          {"work", g.work},
          {"tokens_per_second", g.decoded > 0 ? Json(g.tokens_per_second()) : Json()},
          {"prefill_tokens_per_second", g.prefill_tokens_per_second()},
          {"kv_bytes", g.kv_bytes},
          {"policy", policy.text()},
          {"refused_sidecars", refused_sidecars()},
          {"numeric_path", model.fingerprint().numeric_path},
          {"kernels", model.tables()[0]->name},
          {"stop_reason", reason_of(g)},
          {"depths", g.depths},
          {"prompt_work", g.prompt_work},
          {"passes", g.decode_steps},
          {"proposed", g.proposed},
          {"accepted", g.accepted},
          {"drafted", g.drafted}};
}

void summarise(const Generation& out, const Model& model) {
  const std::string rate = out.decoded > 0 ? fmt::format(" at {:.1f} tokens/s", out.tokens_per_second()) : "";
  const std::string drafts = out.proposed > 0 ? fmt::format(" in {} passes, {} of {} guesses right", out.decode_steps,
                                                            out.accepted, out.proposed)
                                              : "";
  fmt::print(stderr, "{}{}{}, mean depth {:.2f} of {}, work {:.3f}; prompt {} at {:.1f} tokens/s; stopped by {}\n",
             count(out.tokens.size()), rate, drafts, out.mean_depth, model.config().n_layers, out.work,
             count(static_cast<size_t>(out.prompt_tokens)), out.prefill_tokens_per_second(), reason_of(out));
}

}  // namespace fathom::cli
