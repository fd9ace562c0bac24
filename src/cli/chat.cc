// `fathom chat`: a dialogue in the model's own template, answers streamed; one message a line. Next: info.cc.
#include "fathom/text/chat.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>

#include "fathom/engine/generate.h"
#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"
#include "src/cli/policy_choice.h"
#include "src/cli/run_record.h"
#include "src/cli/sampling.h"
#include "src/cli/stream.h"

namespace fathom::cli {
namespace {

struct Args {
  ModelArgs model;
  RunRecord run{.max_new_tokens = 512};
  std::string system;
  std::optional<int64_t> ctx;
  PolicyArgs policy;
  std::string color = "auto";
  bool json = false;
};

// The dialogue and what of it the session already holds.
class Dialogue {
 public:
  Dialogue(Session& session, const ChatTemplate& chat, std::string system)
      : session_(session), chat_(chat), system_(std::move(system)) {
    begin();
  }

  /// Forgets what was said, and with it the state of the policy.
  Result<void> start_over() {
    begin();
    held_.clear();
    return session_.truncate(0, 0);
  }

  /// Answers a message. A failed turn leaves the dialogue as it was.
  Result<Generation> answer(const std::string& message, const GenerateOptions& options) {
    messages_.push_back({"user", message});
    Result<Generation> out = continue_with(options);
    if (out) {
      messages_.push_back({"assistant", out->text});
    } else {
      messages_.pop_back();
    }
    return out;
  }

 private:
  void begin() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({"system", system_});
  }

  // Only what the session does not hold yet is run: the ids of the dialogue so far begin as the last turn's did.
  Result<Generation> continue_with(const GenerateOptions& options) {
    FATHOM_TRY(const std::vector<int32_t> ids, chat_.encode(messages_));
    if (const int32_t room = session_.options().max_tokens; std::ssize(ids) > room) {
      return Error{
          ErrorCode::capacity,
          fmt::format("a dialogue of {} tokens in a context of {}: say less or raise --ctx", ids.size(), room)};
    }
    auto common = std::mismatch(ids.begin(), ids.end(), held_.begin(), held_.end()).first - ids.begin();
    common = std::min<std::ptrdiff_t>(common, std::ssize(ids) - 1);  // the last one predicts
    FATHOM_TRY(session_.truncate(0, static_cast<int32_t>(common)));
    held_.assign(ids.begin(), ids.begin() + common);
    FATHOM_TRY(Generation out, generate_more(session_, std::span(ids).subspan(static_cast<size_t>(common)), options));
    held_ = ids;
    held_.insert(held_.end(), out.tokens.begin(), out.tokens.end());
    held_.resize(static_cast<size_t>(session_.length()));  // the last token was chosen, not run
    return out;
  }

  Session& session_;
  const ChatTemplate& chat_;
  std::string system_;
  std::vector<ChatMessage> messages_;
  std::vector<int32_t> held_;  // ids of the session's positions
};

// One message and its answer; an error of the dialogue (no room left) is said and survived.
Result<void> turn(Dialogue& dialogue, const std::string& message, const Args& args, const Model& model,
                  const Policy& policy) {
  Stream stream(model.config().n_layers, use_color(args.color));
  GenerateOptions options = options_of(args.run, policy);
  options.context = args.json ? nullptr : &stream;
  options.on_token = [](void* context, const GeneratedToken& token) {
    if (context != nullptr) static_cast<Stream*>(context)->write(token);
    return !interrupted();
  };
  options.on_prefill = [](void*, int32_t, int32_t) { return !interrupted(); };
  const InterruptGuard guard;
  const Result<Generation> out = dialogue.answer(message, options);
  if (!out && out.error().code == ErrorCode::capacity) {
    fmt::print(stderr, "fathom: {} (/new starts a new dialogue)\n", out.error().message);
    return {};
  }
  if (!out) return out.error();
  if (args.json) return print_json(result_of(*out, model, policy));
  FATHOM_TRY(stream.finish());
  summarise(*out, model);
  return {};
}

Result<int> run(Args args) {
  FATHOM_TRY(PolicyChoice choice, PolicyChoice::read(args.policy));
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  FATHOM_TRY(choice.bind(args.model, file));
  FATHOM_TRY(choice.cover(args.run.sample));
  const Policy& policy = choice.policy();
  const ModelConfig& config = file.config();
  FATHOM_TRY(check(options_of(args.run, policy), config));
  FATHOM_TRY(const ChatTemplate chat, ChatTemplate::make(file.tokenizer()));
  FATHOM_TRY(args.run.ctx, read_context(args.ctx.value_or(std::min(config.context, 4096)), 1, config));
  FATHOM_TRY(const Model model, pack(file, args.model, policy));
  FATHOM_TRY(Session session, make_session(model, args.run, args.model.threads));
  FATHOM_TRY(choice.attach(session));
  Dialogue dialogue(session, chat, args.system);

  const bool asks = isatty(STDIN_FILENO) != 0 && !args.json;
  if (asks)
    fmt::print(stderr, "{} template; /new starts over, Ctrl-C ends an answer, Ctrl-D the dialogue\n",
               name_of(chat.kind()));
  for (std::string line;;) {
    if (asks) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    if (line == "/new") {
      FATHOM_TRY(dialogue.start_over());
      continue;
    }
    FATHOM_TRY(turn(dialogue, line, args, model, policy));
  }
  if (asks) fmt::print(stderr, "\n");
  return kOk;
}

}  // namespace

Command add_chat(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("chat", "Talk with a model in its own template");
  add_model_options(*verb, args->model);
  verb->add_option("--system", args->system, "What the system message says");
  add_whole_number(*verb, "-n,--tokens", args->run.max_new_tokens, "Tokens of an answer at most", 1);
  add_quality_option(*verb, add_policy_options(*verb, args->policy), args->policy.text);
  add_sampling_options(*verb, args->run);
  add_context_option(*verb, args->ctx, "Positions of the session; default: 4096, or the model's own if fewer");
  add_kv_option(*verb, args->run.kv);
  add_color_option(*verb, args->color);
  verb->add_flag("--json", args->json, "One line of JSON for each answer, docs/schema/generate.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
