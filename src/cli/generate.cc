// `fathom generate`: continues a text, streamed token by token, each shaded by its depth where a terminal shows it.
// Next: chat.cc.
#include "fathom/engine/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "fathom/text/chat.h"
#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"
#include "src/cli/run_record.h"
#include "src/cli/sampling.h"
#include "src/cli/stream.h"

namespace fathom::cli {
namespace {

struct Args {
  ModelArgs model;
  TextArgs text;
  RunRecord run{.max_new_tokens = 128};
  std::optional<int64_t> ctx;
  std::optional<std::string> policy;
  std::string trace;
  std::string color = "auto";
  std::string system;
  bool chat = false;
  bool json = false;
};

// Positions of the session: --ctx, or what the prompt and the new tokens need, as far as the model goes.
Result<int32_t> context_for(const ModelConfig& config, const Args& args) {
  const int32_t most = config.context;
  FATHOM_TRY(const int32_t room, read_context(args.ctx.value_or(most), 1, config));
  const auto n = std::ssize(args.run.prompt);
  if (n > room) {
    return Error{ErrorCode::capacity,
                 fmt::format("a prompt of {} tokens in a context of {}: shorten it or raise --ctx (the "
                             "model was made for {})",
                             n, room, most)};
  }
  return args.ctx ? room : static_cast<int32_t>(std::min<int64_t>(most, n + int64_t{args.run.max_new_tokens}));
}

// A text far beyond the context is refused before it is cut into tokens.
Result<void> check_length(const Tokenizer& tokenizer, const ModelConfig& config, std::string_view text) {
  const size_t least = tokenizer.at_least(text);
  if (least <= static_cast<size_t>(config.context)) return {};
  return Error{ErrorCode::capacity,
               fmt::format("a prompt of {} bytes, at least {} tokens, in a context of {}: shorten it", text.size(),
                           least, config.context)};
}

// The text as it is, or as the user's message in the model's chat template.
Result<std::vector<int32_t>> prompt_ids(const Tokenizer& tokenizer, const Args& args, const std::string& text) {
  if (!args.chat) return tokenizer.encode(text);
  FATHOM_TRY(const ChatTemplate chat, ChatTemplate::make(tokenizer));
  std::vector<ChatMessage> messages;
  if (!args.system.empty()) messages.push_back({"system", args.system});
  messages.push_back({"user", text});
  return chat.encode(messages);
}

Result<int> run(Args args) {
  FATHOM_TRY(const Policy policy, read_policy(args.policy));
  FATHOM_TRY(const std::string text, read_text(args.text));
  FATHOM_TRY(const ModelFile file, open_file(args.model));
  GenerateOptions options = options_of(args.run, policy);
  FATHOM_TRY(check(options, file.config()));
  FATHOM_TRY(check_length(file.tokenizer(), file.config(), text));
  FATHOM_TRY(args.run.prompt, prompt_ids(file.tokenizer(), args, text));
  FATHOM_TRY(args.run.ctx, context_for(file.config(), args));
  args.run.numerics = numerics_of(args.model);
  std::optional<Trace> trace;
  if (!args.trace.empty()) {
    FATHOM_TRY(Trace made, Trace::create(args.trace, header_of(file, args.run, policy)));
    trace.emplace(std::move(made));
  }
  FATHOM_TRY(const Model model, pack(file, args.model));
  FATHOM_TRY(Session session, make_session(model, args.run, args.model.threads));

  Stream stream(model.config().n_layers, use_color(args.color));
  options.trace = trace ? &*trace : nullptr;
  options.context = args.json ? nullptr : &stream;
  options.on_token = [](void* context, const GeneratedToken& token) {
    if (context != nullptr) static_cast<Stream*>(context)->write(token);
    return !interrupted();
  };
  options.on_prefill = [](void*, int32_t, int32_t) { return !interrupted(); };
  const InterruptGuard guard;
  FATHOM_TRY(const Generation out, generate(session, args.run.prompt, options));
  if (trace) FATHOM_TRY(trace->finish());
  if (args.json) {
    FATHOM_TRY(print_json(result_of(out, model, policy)));
  } else {
    FATHOM_TRY(stream.finish());
    summarise(out, model);
  }
  return interrupted() ? kInterrupted : kOk;
}

}  // namespace

Command add_generate(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("generate", "Continue a text");
  add_model_options(*verb, args->model);
  add_text_options(*verb, args->text);
  auto* chat = verb->add_flag("--chat", args->chat, "The text is a message: put it into the model's chat template");
  verb->add_option("--system", args->system, "What the system message says")->needs(chat);
  add_whole_number(*verb, "-n,--tokens", args->run.max_new_tokens, "New tokens at most", 1);
  add_quality_option(*verb, add_policy_option(*verb, args->policy), args->policy);
  add_sampling_options(*verb, args->run);
  add_context_option(*verb, args->ctx, "Positions of the session; default: what prompt and -n need");
  add_kv_option(*verb, args->run.kv);
  verb->add_option("--trace", args->trace, "Record every decision in this file, for fathom replay");
  add_color_option(*verb, args->color);
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/generate.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
