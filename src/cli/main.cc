// The `fathom` command: results on stdout, everything else on stderr, exit codes 0, 1 (failure), 2 (usage), 130
// (interrupted). Next: command.h, which the verbs share.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <exception>

#include "src/cli/command.h"
#include "src/cli/interrupt.h"

namespace {

using namespace fathom::cli;

int fail(int code, std::string message) {
  std::replace_if(
      message.begin(), message.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  std::fprintf(stderr, "fathom: %s\n", message.c_str());
  return code;
}

int run(const Command& command) {
  const fathom::Result<int> code = command.run();
  if (code) return *code;
  switch (code.error().code) {
    case fathom::ErrorCode::argument:
      return fail(kUsage, code.error().message);
    case fathom::ErrorCode::cancelled:
      return fail(kInterrupted, code.error().message);
    default:
      return fail(kFailure, code.error().message);
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
  const Command commands[] = {add_generate(app), add_chat(app),       add_info(app),
                              add_tokenize(app), add_perplexity(app), add_replay(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    const std::string verb = argc > 1 ? argv[1] : "";
    if (app.get_subcommands().empty() && verb.rfind('-', 0) != 0) {
      return fail(kUsage, "no verb " + verb + ": give generate, chat, info, tokenize, perplexity or replay");
    }
    return fail(kUsage, std::string(error.what()) + " (fathom --help says more)");
  }
  for (const Command& command : commands) {
    if (!command.app->parsed()) continue;
    try {
      return run(command);
    } catch (const std::exception& error) {  // out of memory
      return fail(kFailure, std::string(error.what()) + ": free memory or give a smaller input");
    }
  }
  return kUsage;
}
