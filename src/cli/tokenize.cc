// `fathom tokenize`: a text's ids and pieces. Next: perplexity.cc.
#include <fmt/format.h>

#include <memory>

#include "src/cli/command.h"

namespace fathom::cli {
namespace {

struct Args {
  ModelArgs model;
  TextArgs text;
  bool special = false;
  bool no_bos = false;
  bool json = false;
};

Result<int> run(const Args& args) {
  FATHOM_TRY(const std::string text, read_text(args.text));
  FATHOM_TRY(const ModelFile file, open_file(args.model));
  const Tokenizer& tokenizer = file.tokenizer();
  FATHOM_TRY(const std::vector<int32_t> ids, tokenizer.encode(text, {.special = args.special, .bos = !args.no_bos}));
  std::vector<std::string> pieces;
  for (int32_t id : ids) pieces.emplace_back(tokenizer.piece(id, true));
  if (args.json) {
    FATHOM_TRY(print_json({{"ids", ids}, {"pieces", pieces}}));
    return kOk;
  }
  std::string lines;
  for (size_t i = 0; i < ids.size(); ++i) lines += fmt::format("{:>7}  {}\n", ids[i], to_line(pieces[i]));
  FATHOM_TRY(print(lines));
  return kOk;
}

}  // namespace

Command add_tokenize(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("tokenize", "Show a text's tokens");
  add_model_options(*verb, args->model);
  add_text_options(*verb, args->text);
  verb->add_flag("--special", args->special, "Control tokens in the text match as tokens");
  verb->add_flag("--no-bos", args->no_bos, "No beginning-of-text token, even where the model wants one");
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/tokenize.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
