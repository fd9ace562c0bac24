// `fathom certify`: is a sidecar's promise kept on fresh text? Next: report.cc.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "fathom/calibrate/adaptation.h"
#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/recheck.h"
#include "src/cli/calibrate_options.h"
#include "src/cli/command.h"
#include "src/cli/interrupt.h"
#include "src/cli/options.h"

namespace fathom::cli {
namespace {

struct Args {
  ModelArgs model;
  std::string sidecar;
  std::vector<std::string> data;  // NAME=FILE
  int32_t pieces = 600, piece_tokens = 64;
  uint64_t seed = 2;
  bool json = false;
};

Json json_of(const Recheck& found, const Manifest& manifest, const Pieces& pieces, double risk) {
  Json groups = Json::array();
  for (const RecheckedGroup& group : found.groups) {
    groups.push_back({{"name", pieces.groups[size_t(group.bound.group)].name},
                      {"units", group.bound.n},
                      {"mean", group.bound.mean},
                      {"lower", group.lower},
                      {"upper", group.bound.upper},
                      {"broken", group.broken}});
  }
  return {{"policy", manifest.policy},
          {"risk", risk},
          {"broken", found.broken},
          {"proven", found.proven},
          {"groups", std::move(groups)}};
}

Result<int> run(const Args& args) {
  FATHOM_TRY(const std::vector<GroupData> groups, groups_of(args.data));
  FATHOM_TRY(const SidecarFile sidecar, SidecarFile::open(args.sidecar));
  FATHOM_TRY(const Manifest manifest, read_manifest(sidecar));
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  FATHOM_TRY(const ModelFile file, ModelFile::open(path));
  const Adaptation adapted =
      adapt(args.sidecar, path, file, numerics_of(args.model), {.cache_folder = digest_folder()});
  if (!adapted.refused.empty()) return Error{ErrorCode::file, adapted.refused};
  FATHOM_TRY(const Policy policy, Policy::parse(manifest.policy));  // also where a faster one is in use here
  const ManifestCertificate promised =
      manifest.certificate.value_or(ManifestCertificate{.risk = 0.02, .confidence = 0.95});
  FATHOM_TRY(const Model model, pack(file, args.model, policy));
  FATHOM_TRY(const Pieces pieces, sample_pieces(model.tokenizer(), groups,
                                                {.piece_tokens = args.piece_tokens,
                                                 .n_fit = 0,
                                                 .n_choose = args.pieces,
                                                 .n_report = 0,
                                                 .shares = {0, 1, 0},
                                                 .seed = args.seed}));
  if (policy.settings().kv == KvMode::verify || policy.is_full_depth()) {
    FATHOM_TRY(print(args.json
                         ? to_line(json_of({.groups = {}, .proven = true}, manifest, pieces, promised.risk)) + "\n"
                         : fmt::format("holds by construction: {} gives full depth's tokens\n", manifest.policy)));
    return kOk;
  }
  Bar bar;
  const InterruptGuard guard;
  const Result<Recheck> found = recheck(model, policy, adapted.exits, pieces,
                                        {.risk = promised.risk,
                                         .confidence = promised.confidence,
                                         .threads = args.model.threads,
                                         .on_progress = show_progress_bar,
                                         .context = &bar});
  bar.end();
  if (!found) return found.error();
  if (args.json) {
    FATHOM_TRY(print(to_line(json_of(*found, manifest, pieces, promised.risk)) + "\n"));
  } else {
    std::string text;
    for (const RecheckedGroup& group : found->groups) {
      text += fmt::format("{:12} {:6.2f} % differ, surely between {:.2f} % and {:.2f} %, in {} units: {}\n",
                          pieces.groups[size_t(group.bound.group)].name, 100 * group.bound.mean, 100 * group.lower,
                          100 * group.bound.upper, group.bound.n,
                          group.broken                        ? "BROKEN"
                          : group.bound.upper < promised.risk ? "proven anew"
                                                              : "holds");
    }
    FATHOM_TRY(print(text + fmt::format("promised: at most {:g} % at confidence {:g} %: {}\n", 100 * promised.risk,
                                        100 * promised.confidence, found->broken ? "broken here" : "not broken here")));
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
  add_whole_number(*verb, "--pieces", args->pieces, "Pieces of each kind of text", 1, 100000);
  add_whole_number(*verb, "--piece-tokens", args->piece_tokens, "Tokens of a piece", 8, 4096);
  verb->add_option("--seed", args->seed, "Of the pieces that are drawn")->capture_default_str();
  verb->add_flag("--json", args->json, "One line of JSON, docs/schema/certify.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
