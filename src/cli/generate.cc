// `fathom generate`: continues a text, streamed token by token, each shaded by its depth where a terminal shows it.
// Next: chat.cc.
#include "fathom/engine/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

#include "fathom/text/chat.h"
#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/run_record.h"
#include "src/cli/sampling.h"
#include "src/cli/stream.h"

namespace fathom::cli {
namespace {

struct Args {
  ModelArgs model;
  TextArgs text;
  RunRecord run{.max_new_tokens = 128};
  std::optional<std::string> policy;
  std::string trace;
  std::string color = "auto";
  std::string system;
  bool chat = false;
  bool json = false;
};

// Positions of the session: --ctx, or what the prompt and the new tokens need, as far as the model goes.
Result<int32_t> context_for(const Model& model, const RunRecord& run) {
  const int32_t most = model.config().context;
  if (run.ctx > most) {
    return Error{ErrorCode::argument,
                 fmt::format("--ctx {}: the model was made for {}: give at most that", run.ctx, most)};
  }
  const int32_t room = run.ctx > 0 ? run.ctx : most;
  if (std::ssize(run.prompt) > room) {
    return Error{ErrorCode::capacity,
                 fmt::format("a prompt of {} tokens in a context of {}: shorten it or raise --ctx (the "
                             "model was made for {})",
                             run.prompt.size(), room, most)};
  }
  if (run.ctx > 0) return run.ctx;
  return static_cast<int32_t>(std::min<int64_t>(most, std::ssize(run.prompt) + int64_t{run.max_new_tokens}));
}

// The text as it is, or as the user's message in the model's chat template.
Result<std::vector<int32_t>> prompt_ids(const Model& model, const Args& args, const std::string& text) {
  if (!args.chat) return model.tokenizer().encode(text);
  FATHOM_TRY(const ChatTemplate chat, ChatTemplate::make(model.tokenizer()));
  std::vector<ChatMessage> messages;
  if (!args.system.empty()) messages.push_back({"system", args.system});
  messages.push_back({"user", text});
  return chat.encode(messages);
}

Result<int> run(Args args) {
  FATHOM_TRY(const Policy policy, read_policy(args.policy));
  if (args.run.max_new_tokens < 1) {
    return Error{ErrorCode::argument, fmt::format("-n {}: ask for at least 1 token", args.run.max_new_tokens)};
  }
  FATHOM_TRY(check(args.run.sample, std::numeric_limits<int32_t>::max()));
  FATHOM_TRY(const std::string text, read_text(args.text));
  FATHOM_TRY(const Model model, open_model(args.model));
  FATHOM_TRY(policy.check(model.config().n_layers));
  FATHOM_TRY(args.run.prompt, prompt_ids(model, args, text));
  FATHOM_TRY(args.run.ctx, context_for(model, args.run));
  args.run.numerics = args.model.numerics;
  FATHOM_TRY(Session session, make_session(model, args.run, args.model.threads));
  std::optional<Trace> trace;
  if (!args.trace.empty()) {
    FATHOM_TRY(Trace made, Trace::create(args.trace, header_of(model, args.run, policy)));
    trace.emplace(std::move(made));
  }

  Stream stream(model.config().n_layers, use_color(args.color));
  GenerateOptions options = options_of(args.run, policy);
  options.trace = trace ? &*trace : nullptr;
  options.context = args.json ? nullptr : &stream;
  options.on_token = [](void* context, const GeneratedToken& token) {
    if (context != nullptr) static_cast<Stream*>(context)->write(token.text, token.depth);
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
  verb->add_option("-n,--tokens", args->run.max_new_tokens, "New tokens at most")->capture_default_str();
  add_policy_option(*verb, args->policy);
  add_sampling_options(*verb, args->run);
  verb->add_option("--ctx", args->run.ctx, "Positions of the session; default: what prompt and -n need")
      ->check(CLI::Range(1, std::numeric_limits<int32_t>::max()));
  add_kv_option(*verb, args->run.kv);
  verb->add_option("--trace", args->trace, "Record every decision in this file, for fathom replay");
  verb->add_option("--color", args->color, "Shade tokens by depth: auto, always or never")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "always", "never"}));
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/generate.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
