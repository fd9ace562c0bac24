// `fathom generate`: continues a text, streamed token by token, each shaded by its depth where a terminal shows it.
// Next: generate_batch.cc.
#include "src/cli/generate.h"

#include <memory>
#include <optional>

#include "fathom/engine/generate.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"
#include "src/cli/sampling.h"
#include "src/cli/stream.h"

namespace fathom::cli {
namespace {

Result<int> run(GenerateArgs args) {
  if (args.batch > 0) return generate_lines(args);
  FATHOM_TRY(PolicyChoice choice, PolicyChoice::read(args.policy));
  FATHOM_TRY(const std::string text, read_text(args.text));
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  FATHOM_TRY(choice.bind(args.model, file));
  FATHOM_TRY(choice.cover(args.run.sample));
  const Policy& policy = choice.policy();
  GenerateOptions options = options_of(args.run, policy);
  FATHOM_TRY(check(options, file.config()));
  FATHOM_TRY(const PromptMaker maker, PromptMaker::make(file, args.prompt));
  FATHOM_TRY(args.run.prompt, maker.ids(text));
  FATHOM_TRY(check_prompt(args.run.prompt.size(), args.ctx, file.config()));
  FATHOM_TRY(args.run.ctx, context_for(args.run.prompt.size(), args.run.max_new_tokens, args.ctx, file.config()));
  args.run.rounding = rounding_of(args.model);
  std::optional<Trace> trace;
  if (!args.trace.empty()) {
    FATHOM_TRY(Trace made, Trace::create(args.trace, header_of(file, args.run, policy)));
    trace.emplace(std::move(made));
  }
  FATHOM_TRY(const Model model, pack(file, args.model, policy));
  FATHOM_TRY(Session session, make_session(model, args.run, args.model.threads));
  FATHOM_TRY(choice.attach(session));

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
  auto args = std::make_shared<GenerateArgs>();
  CLI::App* verb = app.add_subcommand("generate", "Continue a text");
  add_model_options(*verb, args->model);
  add_text_options(*verb, args->text);
  auto* chat =
      verb->add_flag("--chat", args->prompt.chat, "The text is a message: put it into the model's chat template");
  verb->add_option("--system", args->prompt.system, "What the system message says")->needs(chat);
  add_whole_number(*verb, "-n,--tokens", args->run.max_new_tokens, "New tokens at most", 1);
  add_quality_option(*verb, add_policy_options(*verb, args->policy), args->policy.text);
  add_sampling_options(*verb, args->run);
  add_context_option(*verb, args->ctx, "Positions of the session; default: what prompt and -n need");
  add_kv_option(*verb, args->run.kv);
  verb->add_option("--trace", args->trace, "Record every decision in this file, for fathom replay");
  add_color_option(*verb, args->color);
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/generate.json");
  auto* batch = add_whole_number(*verb, "--batch", args->batch,
                                 "Texts at once, 1 to 256: -f holds a prompt a line, as JSON, docs/cli.md", 1, 256);
  batch->default_str("");
  for (const char* with : {"--file", "--json"}) batch->needs(verb->get_option(with));
  for (const char* other : {"--prompt", "--trace", "--color", "--sequence"}) batch->excludes(verb->get_option(other));
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
