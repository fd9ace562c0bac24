// `fathom attack`: what a policy says on text that is made to deceive it. Next: report.cc.
#include "fathom/calibrate/attack.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "fathom/calibrate/adaptation.h"
#include "src/calibrate/whole_file.h"
#include "src/cli/calibrate_options.h"
#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"
#include "src/cli/policy_choice.h"

namespace fathom::cli {
namespace {

constexpr OutputKind kWorst = {
    .name = "-o", .first = "{\"family\":", .foreign = "exists and was not written by fathom attack"};
constexpr std::string_view kClaim =
    "A certificate speaks of the text that it was made on and need not hold here; limits hold on any text.";

struct Args {
  ModelArgs model;
  std::string policy;  // a text, or the path of a sidecar
  std::string group;   // of a sidecar; empty: all
  std::string output;  // of the worst sequences; empty: none
  int32_t tokens = AttackOptions{}.tokens, sequences = AttackOptions{}.sequences;
  uint64_t seed = AttackOptions{}.seed;
  bool json = false;
};

// What is attacked: of a sidecar what it certifies, whatever is in use here.
Result<Adaptation> attacked(const Args& args, const ModelFile& file) {
  if (!is_sidecar(args.policy)) {
    FATHOM_TRY(Policy policy, read_policy(args.policy));
    return Adaptation{.policy = std::move(policy)};
  }
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  Adaptation adapted = adapt(args.policy, path, file, rounding_of(args.model), {.cache_folder = digest_folder()});
  if (!adapted.refused.empty()) return Error{ErrorCode::file, adapted.refused};
  if (!adapted.certified.empty()) FATHOM_TRY(adapted.choose(args.group, adapted.certified.front().risk));
  return adapted;
}

Json json_of(const AttackRun& run) {
  return {{"policy", run.policy},
          {"rows", run.rows},
          {"differ", run.share()},
          {"rows_behind", run.rows_behind},
          {"differ_behind", run.share_behind()},
          {"mean_depth", run.mean_depth},
          {"work", run.work}};
}

Json json_of(const Attack& found, const Args& args, const Model& model) {
  Json families = Json::array(), limits = Json::array();
  for (const AttackedFamily& family : found.families) {
    Json runs = Json::array();
    for (const AttackRun& run : family.runs) runs.push_back(json_of(run));
    families.push_back({{"name", family.name}, {"about", family.about}, {"runs", std::move(runs)}});
  }
  for (const LimitCheck& check : found.limits) {
    limits.push_back(
        {{"policy", check.policy}, {"limit", check.limit}, {"rows", check.rows}, {"broken", check.broken}});
  }
  const double ratio = found.search_over_random();
  return {{"policy", found.policies.front()},
          {"n_layers", model.config().n_layers},
          {"tokens", args.tokens},
          {"sequences", args.sequences},
          {"seed", args.seed},
          {"lossless", found.lossless},
          {"families", std::move(families)},
          {"search_over_random", ratio > 0 ? Json(ratio) : Json()},
          {"limits", std::move(limits)},
          {"limits_hold", found.limits_hold()},
          {"claim", kClaim}};
}

std::string worst_of(const Attack& found, const Args& args, const Tokenizer& tokenizer) {
  std::string lines;
  for (const AttackCase& one : found.worst) {
    lines += to_line({{"family", one.family},
                      {"policy", found.policies.front()},
                      {"differ", double(one.differ) / args.tokens},
                      {"mean_depth", one.mean_depth},
                      {"trap", one.trap},
                      {"tokens", one.tokens},
                      {"text", tokenizer.decode(one.tokens)}}) +
             "\n";
  }
  return lines;
}

std::string table_of(const Attack& found, const Model& model) {
  std::string text = fmt::format("{:19} {:>8} {:>12} {:>10}\n", "", "differ", "behind trap", "mean depth");
  for (size_t p = 0; p < found.policies.size(); ++p) {
    text += found.policies[p] + "\n";
    for (const AttackedFamily& family : found.families) {
      const AttackRun& run = family.runs[p];
      text += fmt::format("  {:17} {:6.2f} % {:10.2f} % {:10.2f}\n", family.name, 100 * run.share(),
                          100 * run.share_behind(), run.mean_depth);
    }
  }
  const double ratio = found.search_over_random();
  text += ratio > 0 ? fmt::format("search: {:.1f} times the disagreement of random prompts, of {} layers\n", ratio,
                                  model.config().n_layers)
                    : "search: random prompts never differ\n";
  for (const LimitCheck& check : found.limits) {
    text += fmt::format("limit {} in {} rows: {}\n", check.limit, check.rows,
                        check.broken == 0 ? "kept" : fmt::format("BROKEN in {}", check.broken));
  }
  return text + std::string(kClaim) + "\n";
}

Result<int> run(const Args& args) {
  if (!args.output.empty()) FATHOM_TRY(check_place(args.output, kWorst));  // before the work
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  FATHOM_TRY(const Adaptation adapted, attacked(args, file));
  FATHOM_TRY(adapted.policy.check(file.config().n_layers));
  FATHOM_TRY(const Model model, pack(file, args.model, adapted.policy));
  Bar bar;
  const InterruptGuard guard;
  const Result<Attack> found = attack(model, adapted,
                                      {.tokens = args.tokens,
                                       .sequences = args.sequences,
                                       .seed = args.seed,
                                       .threads = args.model.threads,
                                       .on_progress = show_progress_bar,
                                       .context = &bar});
  bar.end();
  if (!found) return found.error();
  if (!args.output.empty()) {
    FATHOM_TRY(write_whole_file(args.output, kWorst, worst_of(*found, args, model.tokenizer())));
  }
  if (args.json) {
    FATHOM_TRY(print_json(json_of(*found, args, model)));
  } else if (found->lossless) {
    FATHOM_TRY(print(fmt::format("nothing to attack: {} gives full depth's tokens\n", found->policies.front())));
  } else {
    FATHOM_TRY(print(table_of(*found, model)));
  }
  return found->limits_hold() ? kOk : kFailure;
}

}  // namespace

Command add_attack(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("attack", "Tempt a policy to leave too early, and check its limits");
  add_model_options(*verb, args->model);
  verb->add_option("--policy", args->policy, "What is attacked: a text, docs/policies.md, or a sidecar, NAME.fathom")
      ->required();
  verb->add_option("--group", args->group, "A sidecar's kind of text, whose own policy is attacked");
  add_whole_number(*verb, "--tokens", args->tokens, "Tokens of a sequence", 16, 4096);
  add_whole_number(*verb, "--sequences", args->sequences, "Sequences of each family", 1, 64);
  verb->add_option("--seed", args->seed, "Of the sequences")->capture_default_str();
  verb->add_option("-o,--output", args->output, "Write the sequences that differ, worst first, one line of JSON each");
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/attack.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
