// `fathom certify`: is a sidecar's promise kept on fresh text? Next: attack.cc.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fathom/calibrate/adaptation.h"
#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/recheck.h"
#include "src/calibrate/loss.h"
#include "src/cli/calibrate_options.h"
#include "src/cli/command.h"
#include "src/cli/depth_picture.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"

namespace fathom::cli {
namespace {

struct Args {
  ModelArgs model;
  std::string sidecar;
  std::string group;
  std::optional<double> risk;     // of the levels
  std::vector<std::string> data;  // NAME=FILE
  int32_t pieces = 600, prompt_tokens = 512;
  int32_t piece_tokens = 0;  // 0: as many as the certificate is about
  uint64_t seed = 2;
  bool json = false;
};

// What is held against the text.
struct Promise {
  Policy policy;
  std::string group;  // whose temperatures and maps it reads; empty: those of all
  double risk = 0.02, confidence = 0.95, temperature = 0;
  int32_t piece_tokens = 64;
  std::vector<std::string> groups;  // that it is about; empty: it does not say
};

Json json_of(const Recheck& found, const Promise& promised, const Pieces& pieces) {
  Json groups = Json::array();
  for (const RecheckedGroup& group : found.groups) {
    groups.push_back({{"name", pieces.groups[size_t(group.bound.group)].name},
                      {"units", group.bound.n},
                      {"mean", group.bound.mean},
                      {"lower", group.lower},
                      {"upper", group.bound.upper},
                      {"shift", group.shift},
                      {"broken", group.broken}});
  }
  return {{"policy", promised.policy.text()},
          {"group", promised.group.empty() ? Json() : Json(promised.group)},
          {"risk", promised.risk},
          {"temperature", promised.temperature},
          {"broken", found.broken},
          {"proven", found.proven},
          {"groups", std::move(groups)}};
}

// What was certified, also where something faster is in use here.
Result<Promise> promise_of(const Args& args, const Manifest& manifest, const Adaptation& adapted) {
  Promise promise;
  for (const ManifestGroup& group : manifest.groups) promise.groups.push_back(group.name);
  if (!manifest.certificate) {
    FATHOM_TRY(promise.policy, Policy::parse(manifest.policy));
    return promise;
  }
  Adaptation chosen = adapted;
  promise.risk = args.risk.value_or(manifest.certificate->risk);
  promise.confidence = manifest.certificate->confidence;
  promise.temperature = manifest.certificate->temperature;
  if (manifest.certificate->piece_tokens > 0) promise.piece_tokens = manifest.certificate->piece_tokens;
  FATHOM_TRY(chosen.choose(args.group, promise.risk));
  promise.policy = chosen.policy;
  promise.group = chosen.group;
  if (!promise.group.empty()) promise.groups = {promise.group};
  return promise;
}

Result<int> run(const Args& args) {
  FATHOM_TRY(const std::vector<GroupData> groups, groups_of(args.data));
  FATHOM_TRY(const SidecarFile sidecar, SidecarFile::open(args.sidecar));
  FATHOM_TRY(const Manifest manifest, read_manifest(sidecar));
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  FATHOM_TRY(const ModelFile file, open_language_model(args.model));
  const Adaptation adapted =
      adapt(args.sidecar, path, file, rounding_of(args.model), {.cache_folder = digest_folder()});
  if (!adapted.refused.empty()) return Error{ErrorCode::file, adapted.refused};
  FATHOM_TRY(const Promise promised, promise_of(args, manifest, adapted));
  FATHOM_TRY(const Model model, pack(file, args.model, promised.policy));
  const int32_t piece_tokens = args.piece_tokens > 0 ? args.piece_tokens : promised.piece_tokens;
  if (piece_tokens != promised.piece_tokens) {
    spdlog::warn("--piece-tokens {}: the promise is about stretches of {} tokens", piece_tokens, promised.piece_tokens);
  }
  FATHOM_TRY(const Pieces pieces, sample_pieces(model.tokenizer(), groups,
                                                {.piece_tokens = piece_tokens,
                                                 .n_fit = 0,
                                                 .n_choose = args.pieces,
                                                 .n_report = 0,
                                                 .shares = {0, 1, 0},
                                                 .most_prompt_tokens = args.prompt_tokens,
                                                 .seed = args.seed}));
  warn_of_empty(pieces);
  if (is_lossless(promised.policy)) {
    FATHOM_TRY(print(
        args.json ? to_line(json_of({.groups = {}, .proven = true}, promised, pieces)) + "\n"
                  : fmt::format("holds by construction: {} gives full depth's tokens\n", promised.policy.text())));
    return kOk;
  }
  Bar bar;
  const InterruptGuard guard;
  const Result<Recheck> found = recheck(model, promised.policy, adapted.exits, pieces,
                                        {.risk = promised.risk,
                                         .temperature = promised.temperature,
                                         .confidence = promised.confidence,
                                         .group = promised.group,
                                         .promised = promised.groups,
                                         .routers = adapted.routers,
                                         .threads = args.model.threads,
                                         .on_progress = show_progress_bar,
                                         .context = &bar});
  bar.end();
  if (!found) return found.error();
  if (args.json) {
    FATHOM_TRY(print(to_line(json_of(*found, promised, pieces)) + "\n"));
  } else {
    const std::string_view what = Loss(promised.temperature).of_what();
    std::string text;
    for (const RecheckedGroup& group : found->groups) {
      const std::string& name = pieces.groups[size_t(group.bound.group)].name;
      const char* const says = group.shift    ? "shift: the promise is about other groups"
                               : group.broken ? "BROKEN"
                               : group.proven ? "proven anew"
                                              : "holds";
      text += fmt::format("{:12} {:6.2f} % of {} differ, surely between {:.2f} % and {:.2f} %, in {} units: {}\n",
                          harmless(name), 100 * group.bound.mean, what, 100 * group.lower, 100 * group.bound.upper,
                          group.bound.n, says);
    }
    const std::string drawn =
        promised.temperature > 0 ? fmt::format(", of tokens drawn at temperature {:g}", promised.temperature) : "";
    FATHOM_TRY(
        print(text + fmt::format("promised: at most {:g} % at confidence {:g} %{}: {}\n", 100 * promised.risk,
                                 100 * promised.confidence, drawn, found->broken ? "broken here" : "not broken here")));
  }
  return found->broken ? kFailure : kOk;
}

}  // namespace

Command add_certify(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("certify", "Check a sidecar's promise on fresh text");
  verb->add_option("sidecar", args->sidecar, "NAME.fathom")->required();
  add_model_options(*verb, args->model);
  verb->add_option("--data", args->data, "NAME=FILE: texts of one kind")->required();
  verb->add_option("--group", args->group, "The group of texts whose own policy is checked; default: the one for all");
  verb->add_option("--risk-level", args->risk, "The level of risk that is checked; default: the first");
  add_whole_number(*verb, "--pieces", args->pieces, "Pieces of each kind of text", 1, 100000);
  add_whole_number(*verb, "--piece-tokens", args->piece_tokens,
                   "Tokens of a piece; default: as many as the promise is about", 8, 4096);
  add_whole_number(*verb, "--prompt-tokens", args->prompt_tokens,
                   "Tokens of a prompt, at most; longer ones are left out", 1, 1 << 20);
  verb->add_option("--seed", args->seed, "Of the pieces that are drawn")->capture_default_str();
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/certify.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
