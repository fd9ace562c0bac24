// `fathom perplexity`: how well a model under a policy predicts a text, beside its own full depth. Next: replay.cc.
#include "fathom/engine/perplexity.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/lines_file.h"
#include "src/cli/policy_choice.h"

namespace fathom::cli {
namespace {

constexpr int32_t kWindowsSideBySide = 8;
constexpr int32_t kWindow = 512, kLeastWindow = 8;  // cells

struct Args {
  ModelArgs model;
  TextArgs text;
  std::optional<int64_t> ctx;
  std::string kv = "f16";
  PolicyArgs policy;
  std::string per_token;
  bool json = false;
};

bool show_progress(void*, int64_t done, int64_t total) {
  if (isatty(STDERR_FILENO)) fmt::print(stderr, "\rwindow {} of {}{}", done, total, done == total ? "\n" : "");
  return !interrupted();
}

constexpr OutputKind kPerToken = {
    .name = "--per-token", .first = "{\"id\":", .foreign = "exists and was not written by --per-token"};

// One line of JSON for every token of the text.
std::string per_token_lines(const Perplexity& result) {
  std::string lines;
  for (const ScoredToken& t : result.tokens) {
    const bool predicted = t.argmax >= 0;
    lines += to_line({{"id", t.id},
                      {"nll", predicted ? Json(t.nll) : Json()},
                      {"argmax", predicted ? Json(t.argmax) : Json()},
                      {"depth", predicted ? Json(t.depth) : Json()},
                      {"scored", t.scored}}) +
             "\n";
  }
  return lines;
}

Json result_of(const Perplexity& p, int32_t ctx, const Policy& policy, const Model& model) {
  return {{"perplexity", std::isnan(p.perplexity) ? Json() : Json(p.perplexity)},
          {"n_tokens", p.n_tokens},
          {"agreement", p.agreement},
          {"kl", p.kl},
          {"mean_depth", p.mean_depth},
          {"work", p.work},
          {"n_scored", p.n_scored},
          {"n_layers", model.config().n_layers},
          {"ctx", ctx},
          {"policy", policy.text()},
          {"refused_sidecars", refused_sidecars()},
          {"numeric_path", model.fingerprint().numeric_path},
          {"kernels", model.tables()[0]->name}};
}

Result<int> run(const Args& args) {
  FATHOM_TRY(PolicyChoice choice, PolicyChoice::read(args.policy));
  FATHOM_TRY(const std::string text, read_text(args.text));
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  FATHOM_TRY(choice.bind(args.model, file));
  const Policy& policy = choice.policy();
  FATHOM_TRY(policy.check(file.config().n_layers));
  FATHOM_TRY(const int32_t ctx,
             read_context(args.ctx.value_or(std::min(kWindow, file.config().context)), kLeastWindow, file.config()));
  FATHOM_TRY(const std::vector<int32_t> ids, file.tokenizer().encode(text, {.bos = false}));
  std::optional<LinesFile> per_token;
  if (!args.per_token.empty()) {
    FATHOM_TRY(LinesFile made, LinesFile::open(args.per_token, kPerToken));
    per_token.emplace(std::move(made));
  }
  FATHOM_TRY(const Model model, pack(file, args.model, policy));
  FATHOM_TRY(Session session, Session::make(model, {.max_tokens = ctx,
                                                    .max_sequences = kWindowsSideBySide,
                                                    .kv = kv_type(args.kv),
                                                    .threads = args.model.threads}));
  FATHOM_TRY(choice.attach(session));
  const InterruptGuard guard;
  FATHOM_TRY(const Perplexity result,
             perplexity(session, ids, {.window = ctx, .policy = policy, .on_progress = show_progress}));
  if (per_token) FATHOM_TRY(per_token->write(per_token_lines(result)));
  if (args.json) {
    FATHOM_TRY(print_json(result_of(result, ctx, policy, model)));
    return kOk;
  }
  const std::string ppl = std::isnan(result.perplexity)
                              ? fmt::format("no whole window of {} cells, see --ctx", ctx)
                              : fmt::format("{:.4f} over {} tokens", result.perplexity, result.n_scored);
  FATHOM_TRY(print(fmt::format(
      "perplexity  {}\nagreement   {:.4f} with full depth, {} tokens\nkl          {:.5f} nats\n"
      "mean depth  {:.2f} of {}\nwork        {:.4f}\n",
      ppl, result.agreement, result.n_tokens, result.kl, result.mean_depth, model.config().n_layers, result.work)));
  return kOk;
}

}  // namespace

Command add_perplexity(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("perplexity", "Score a text under a policy and at full depth");
  add_model_options(*verb, args->model);
  add_file_option(*verb, args->text);
  add_context_option(
      *verb, args->ctx,
      fmt::format("Cells of a window, {} or more; default: {}, or the model's own if fewer", kLeastWindow, kWindow));
  add_kv_option(*verb, args->kv);
  add_policy_options(*verb, args->policy);
  verb->add_option("--per-token", args->per_token, "Write one line of JSON for each token of the text to this file");
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/perplexity.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
