// `fathom calibrate`: what a model has to give on the user's own text, as a sidecar with its promise.
// Next: calibrate_result.cc.
#include "fathom/calibrate/calibrate.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fathom/calibrate/bound.h"
#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/section_bytes.h"
#include "src/calibrate/whole_file.h"
#include "src/cli/calibrate_budget.h"
#include "src/cli/calibrate_options.h"
#include "src/cli/calibrate_result.h"
#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"

namespace fathom::cli {
namespace {

constexpr OutputKind kSidecar = {.name = "-o", .first = kSidecarStart, .foreign = "exists and is no sidecar"};

struct Args {
  ModelArgs model;
  std::vector<std::string> data;  // NAME=FILE
  std::string output;
  std::vector<double> risks = {0.02};
  double confidence = 0.95, temperature = 0;
  bool one_setting = false;
  int32_t pieces = 600, piece_tokens = 64, prompt_tokens = 512;
  uint64_t seed = 1;
  int32_t budget_minutes = 0;  // 0: no budget
  bool restart = false;
  bool json = false;
};

// What gives the same fits and certificate: numbers as they are, and words as a shell reads them back.
std::string command_of(const Args& args) {
  std::string text = fmt::format("fathom calibrate -m {} --numerics {}", shell_word(args.model.model),
                                 name_of(rounding_of(args.model).numerics));
  if (args.model.quantise) text += " --quantise " + *args.model.quantise;
  if (!args.model.target.empty()) text += " --target " + shell_word(args.model.target);
  for (const std::string& one : args.data) text += " --data " + shell_word(one);
  for (const double risk : args.risks) text += fmt::format(" --risk {}", risk);
  if (args.one_setting) text += " --one-setting";
  if (args.temperature > 0) text += fmt::format(" --temperature {}", args.temperature);
  return text + fmt::format(" --confidence {} --pieces {} --piece-tokens {} --prompt-tokens {} --seed {} -o {}",
                            args.confidence, args.pieces, args.piece_tokens, args.prompt_tokens, args.seed,
                            shell_word(args.output));
}

// With fewer documents than a certificate needs of them, places of their text are what is counted.
Result<Pieces> sample(const Args& args, const Model& model, std::span<const GroupData> groups) {
  const CalibrateOptions options{.confidence = args.confidence,
                                 .own_settings = !args.one_setting,
                                 .more_risks = {args.risks.begin() + 1, args.risks.end()}};
  const int64_t needed = pieces_needed(args.risks.front(), delta_for_all(options, groups.size()));
  const PieceOptions usual;
  const bool possible = needed != kNoPiecesSuffice;
  return sample_pieces(
      model.tokenizer(), groups,
      {.piece_tokens = args.piece_tokens,
       .n_fit = std::max(6, args.pieces / 2),
       .n_choose = args.pieces,
       .n_report = std::max(1, args.pieces / 4),
       .most_prompt_tokens = args.prompt_tokens,
       .fewest_documents = possible ? std::max(kFewestDocuments, int64_t(std::ceil(double(needed) / usual.shares[1])))
                                    : kFewestDocuments,
       .seed = args.seed});
}

// What a run that was stopped says: how to go on.
Error stopped(Error error, const std::string& journal) {
  if (error.code == ErrorCode::cancelled && access(journal.c_str(), F_OK) == 0) {
    error.message += fmt::format(": give the same command again to go on from {}", journal);
  }
  return error;
}

Result<int> run(Args args) {
  FATHOM_TRY(const std::vector<GroupData> groups, groups_of(args.data));
  FATHOM_TRY(check_place(args.output, kSidecar));  // before the work
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  FATHOM_TRY(const BoundModel bound,
             binding_of(path, file, rounding_of(args.model), {.cache_folder = digest_folder()}));
  FATHOM_TRY(const Model model, pack(file, args.model));
  FATHOM_TRY(Pieces pieces, sample(args, model, groups));
  Bar bar;
  CalibrateOptions options{.risk = args.risks.front(),
                           .temperature = args.temperature,
                           .confidence = args.confidence,
                           .own_settings = !args.one_setting,
                           .seed = args.seed,
                           .threads = args.model.threads,
                           .more_risks = {args.risks.begin() + 1, args.risks.end()}};
  options.origin = {.model_name = bound.binding.name.empty() ? args.model.model : bound.binding.name,
                    .model_file = path.substr(path.rfind('/') + 1),
                    .sha256 = bound.binding.sha256,
                    .machine = model.tables()[0]->name,
                    .library = FATHOM_VERSION};
  options.journal = {.path = args.output + ".partial", .restart = args.restart};
  options.on_progress = show_progress_bar;
  options.context = &bar;
  const InterruptGuard guard;
  if (args.budget_minutes > 0) {
    const Result<int32_t> n = pieces_in_budget(model, pieces, options, args.budget_minutes, args.pieces);
    bar.end();
    if (!n) return n.error();
    args.pieces = *n;
    FATHOM_TRY(pieces, sample(args, model, groups));
  }
  options.origin.command = command_of(args);
  const Result<Calibration> found = calibrate(model, pieces, options);
  bar.end();
  if (!found) return stopped(found.error(), options.journal.path);
  const std::string manifest = manifest_json(manifest_of(*found, pieces, options, bound.binding)),
                    measured = measured_of(*found, pieces).dump();
  const std::vector<std::byte> parts = parts_bytes(found->exits);
  const std::vector<std::byte> routers = router_bytes(found->routers);
  std::vector<SidecarSection> sections = {{std::string(section::kManifest), bytes_of(manifest)},
                                          {std::string(section::kMeasured), bytes_of(measured)},
                                          {std::string(section::kParts), parts},
                                          {std::string(section::kReport), bytes_of(found->report)}};
  if (!found->routers.empty()) sections.push_back({std::string(section::kRouters), routers});
  FATHOM_TRY(write_sidecar(args.output, sections));
  unlink(options.journal.path.c_str());
  if (args.json) {
    FATHOM_TRY(print(found->report + "\n"));
  } else {
    tell(*found, pieces, options);
  }
  warn_of_missing(*found, pieces);
  return kOk;
}

}  // namespace

Command add_calibrate(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("calibrate", "Find what pays on your text, and certify it");
  add_model_options(*verb, args->model);
  verb->add_option("--data", args->data, "NAME=FILE: texts of one kind; several kinds are certified each")->required();
  verb->add_option("-o,--output", args->output, "The sidecar; replaces nothing but an earlier one")->required();
  verb->add_option("--risk", args->risks,
                   "Share of tokens, or at --temperature of their probability, that may differ from full depth; "
                   "given again: a further level")
      ->default_str("0.02")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_flag("--one-setting", args->one_setting,
                 "Certify one setting for all groups only, and spend all of the "
                 "confidence on it");
  verb->add_option("--temperature", args->temperature,
                   "Of the texts that will be written: above 0 what tokens are drawn from is compared, not the tokens")
      ->capture_default_str();
  verb->add_option("--confidence", args->confidence, "Of the promise")->capture_default_str();
  add_whole_number(*verb, "--pieces", args->pieces, "Pieces of each kind of text that thresholds are certified on", 6,
                   100000);
  add_whole_number(*verb, "--piece-tokens", args->piece_tokens, "Tokens of a piece", 8, 4096);
  add_whole_number(*verb, "--prompt-tokens", args->prompt_tokens,
                   "Tokens of a prompt, at most; longer ones are left out", 1, 1 << 20);
  verb->add_option("--seed", args->seed, "Of everything that is drawn")->capture_default_str();
  add_whole_number(*verb, "--budget-minutes", args->budget_minutes,
                   "End in so many minutes, with fewer pieces where there is no time for all", 1, 100000);
  verb->add_flag("--restart", args->restart, "Begin anew, and not where OUTPUT.partial was left");
  verb->add_flag("--json", args->json, "The report as one line of JSON, docs/schema/report.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
