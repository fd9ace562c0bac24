// The `fathom` command: results on stdout, everything else on stderr, exit codes 0, 1 (failure), 2 (usage), 130
// (interrupted). Next: command.h, which the verbs share.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <exception>

#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"

namespace {

using namespace fathom::cli;

// `verb` may be empty.
int fail(int code, const std::string& verb, std::string message) {
  std::replace_if(
      message.begin(), message.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  std::fprintf(stderr, "fathom%s%s: %s\n", verb.empty() ? "" : " ", verb.c_str(), message.c_str());
  return code;
}

int run(const Command& command) {
  const fathom::Result<int> code = command.run();
  const std::string verb = name_of(chosen(*command.app));
  if (code) return *code;
  switch (code.error().code) {
    case fathom::ErrorCode::argument:
      return fail(kUsage, verb, code.error().message);
    case fathom::ErrorCode::cancelled:
      return fail(kInterrupted, verb, code.error().message);
    default:
      return fail(kFailure, verb, code.error().message);
  }
}

}  // namespace

int main(int argc, char** argv) {
  handle_interrupts();
  spdlog::set_default_logger(spdlog::stderr_color_mt("fathom"));
  spdlog::set_pattern("fathom: %v");

  CLI::App app{"Transformer inference where depth is decided at run time, token by token.", "fathom"};
  app.set_version_flag("--version", "fathom " FATHOM_VERSION);
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  const Command commands[] = {
      add_generate(app), add_chat(app),       add_embed(app),  add_classify(app),  add_info(app),
      add_tokenize(app), add_perplexity(app), add_replay(app), add_calibrate(app), add_calibrate_embed(app),
      add_certify(app),  add_attack(app),     add_report(app), add_policy(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    const auto verbs = app.get_subcommands();
    if (!verbs.empty()) {
      const CLI::App& verb = chosen(*verbs[0]);
      return fail(kUsage, name_of(verb), usage_message(verb, error));
    }
    const std::string first = argc > 1 ? argv[1] : "";
    if (first.rfind('-', 0) == 0) return fail(kUsage, "", usage_message(app, error));
    const std::string what = first.empty() ? "no verb" : "no verb " + first;
    return fail(kUsage, "",
                what +
                    ": give generate, chat, embed, classify, info, tokenize, perplexity, replay, calibrate, "
                    "calibrate-embed, certify, attack, report or policy");
  }
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    try {
      return run(command);
    } catch (const std::exception& error) {  // out of memory
      return fail(kFailure, name_of(chosen(*command.app)),
                  std::string(error.what()) + ": free memory or give a smaller input");
    }
  }
  return kUsage;
}
