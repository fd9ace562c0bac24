// `fathom calibrate-embed`: a policy for vectors of texts, certified on the user's own, as a sidecar. Next: certify.cc.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fathom/calibrate/embedding_file.h"
#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/whole_file.h"
#include "src/cli/calibrate_options.h"
#include "src/cli/command.h"
#include "src/cli/encoder_options.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"

namespace fathom::cli {
namespace {

constexpr OutputKind kSidecar = {.name = "-o", .first = kSidecarStart, .foreign = "exists and is no sidecar"};

struct Args {
  ModelArgs model;
  std::vector<std::string> data, policies;
  std::string output;
  std::optional<int64_t> max_tokens;
  double cosine = 0.98, risk = 0.02, confidence = 0.95;
  int32_t texts = 300;
  uint64_t seed = 1;
  bool json = false;
};

std::string command_of(const Args& args) {
  std::string command = fmt::format("fathom calibrate-embed -m {}", shell_word(args.model.model));
  for (const std::string& one : args.data) command += " --data " + shell_word(one);
  for (const std::string& one : args.policies) command += " --policy " + shell_word(one);
  command += fmt::format(" --cosine {:g} --risk {:g} --confidence {:g} --texts {} --seed {}", args.cosine, args.risk,
                         args.confidence, args.texts, args.seed);
  if (args.max_tokens) command += fmt::format(" --max-tokens {}", *args.max_tokens);
  if (!args.model.precision.empty()) command += " --precision " + args.model.precision;
  return command + " -o " + shell_word(args.output);
}

std::string summary(const EmbeddingCertificate& found, const EmbeddingOptions& options) {
  std::string text;
  for (const int32_t i : found.sequence) {
    const EmbeddingTrial& trial = found.trials[static_cast<size_t>(i)];
    text +=
        fmt::format("{}: work {:.3f}, all but {:g} % of texts keep {:.4f}, half {:.4f}\n", trial.policy.text(),
                    trial.work, 100 * options.risk, trial.kept_by_all_but(options.risk), trial.kept_by_all_but(0.5));
  }
  for (const GroupBound& bound : found.choice.passed) {
    text += fmt::format("{:12} {:6.2f} % of {} texts are below a cosine of {:g}, surely no more than {:.2f} %\n",
                        found.groups[static_cast<size_t>(bound.group)], 100 * bound.mean, bound.n, options.cosine,
                        100 * bound.upper);
  }
  if (!found.promise.empty()) text += found.promise + "\n";
  return text + found.verdict + "\n";
}

Result<int> run(const Args& args) {
  FATHOM_TRY(const std::vector<GroupData> groups, groups_of(args.data));
  FATHOM_TRY(check_place(args.output, kSidecar));  // before the work
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  FATHOM_TRY(const ModelFile file, open_file(args.model));
  Bar bar;
  EmbeddingOptions options{.cosine = args.cosine,
                           .risk = args.risk,
                           .confidence = args.confidence,
                           .texts = args.texts,
                           .seed = args.seed,
                           .on_progress = show_progress_bar,
                           .context = &bar};
  FATHOM_TRY(options.encoder, encoder_options(args.model, args.max_tokens, file.config()));
  for (const std::string& text : args.policies) {
    FATHOM_TRY(Policy policy, read_policy(text));
    FATHOM_TRY(policy.check(file.config().n_layers));
    options.policies.push_back(std::move(policy));
  }
  FATHOM_TRY(const std::vector<EmbeddingGroup> texts, read_embedding_texts(groups, options));
  FATHOM_TRY(const BoundModel bound,
             binding_of(path, file, rounding_of(args.model), {.cache_folder = digest_folder()}));
  FATHOM_TRY(const Model model, pack(file, args.model));
  const InterruptGuard guard;
  const Result<EmbeddingCertificate> found = certify_embedding(model, texts, options);
  bar.end();
  if (!found) return found.error();
  const EmbeddingOrigin origin{
      .model_name = args.model.model,
      .command = command_of(args),
      .library = FATHOM_VERSION,
      .machine = model.tables()[0]->name,
      .max_tokens = options.encoder.max_tokens > 0 ? options.encoder.max_tokens : file.config().usual_tokens};
  FATHOM_TRY(write_embedding(args.output, *found, options, bound.binding, origin));
  FATHOM_TRY(print(args.json ? embedding_report_json(*found, options, origin) + "\n" : summary(*found, options)));
  return kOk;
}

}  // namespace

Command add_calibrate_embed(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("calibrate-embed", "Find what vectors of your texts can spare, and certify it");
  add_encoder_options(*verb, args->model);
  verb->add_option("--data", args->data, "NAME=FILE: texts of one kind; several kinds are certified each")->required();
  verb->add_option("-o,--output", args->output, "The sidecar; replaces nothing but an earlier one")->required();
  verb->add_option("--cosine", args->cosine, "With full depth's vector, that a text is to keep")->capture_default_str();
  verb->add_option("--risk", args->risk, "Share of texts that may be below it")->capture_default_str();
  verb->add_option("--confidence", args->confidence, "That it is no more")->capture_default_str();
  verb->add_option("--policy", args->policies, "A policy that is tried, several times; default: a ladder of them")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_max_tokens_option(*verb, args->max_tokens);
  add_whole_number(*verb, "--texts", args->texts, "Texts of each kind to certify on, and a third more to choose by", 1,
                   1000000);
  verb->add_option("--seed", args->seed, "Of what each text is for")->capture_default_str();
  verb->add_flag("--json", args->json, "What was found as one line of JSON, docs/schema/embed_report.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
