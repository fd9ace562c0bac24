// `fathom calibrate`: what a model has to give on the user's own text, as a sidecar with its promise.
// Next: certify.cc.
#include "fathom/calibrate/calibrate.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/parts.h"
#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/whole_file.h"
#include "src/cli/calibrate_options.h"
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
  double risk = 0.02, confidence = 0.95;
  int32_t pieces = 600, piece_tokens = 64;
  uint64_t seed = 1;
  bool json = false;
};

std::string command_of(const Args& args) {
  std::string text = fmt::format("fathom calibrate -m {}", args.model.model);
  for (const std::string& one : args.data) text += " --data " + one;
  return text + fmt::format(" --risk {:g} --confidence {:g} --pieces {} --piece-tokens {} --seed {} -o {}", args.risk,
                            args.confidence, args.pieces, args.piece_tokens, args.seed, args.output);
}

Manifest manifest_of(const Args& args, const Calibration& found, const Pieces& pieces, const CalibrateOptions& options,
                     const SidecarBinding& model) {
  const bool certified = found.passed >= 0;
  Manifest m{.library = FATHOM_VERSION,
             .policy = certified ? found.settings[size_t(found.passed)].policy : std::string(kLosslessPolicy),
             .model = model,
             .promise = certified ? promise_of(pieces, options) : "Every token is that of full depth.",
             .seed = args.seed};
  for (size_t g = 0; g < pieces.groups.size(); ++g) {
    ManifestGroup group{.name = pieces.groups[g].name};
    if (certified) group.thresholds.push_back(found.settings[size_t(found.passed)].threshold);
    for (const FittedExit& exit : found.exits.exits) group.temperatures.push_back(exit.temperatures[g]);
    m.groups.push_back(std::move(group));
  }
  ManifestCertificate certificate{
      .risk = args.risk, .confidence = args.confidence, .certified = true, .lossless = !certified};
  if (certified) {
    for (const GroupBound& bound : found.settings[size_t(found.passed)].bounds) {
      certificate.groups.push_back({pieces.groups[size_t(bound.group)].name, bound.n, bound.mean, bound.upper});
    }
  }
  m.certificate = std::move(certificate);
  m.splits = fmt::format(R"({{"fit":"{}","choose":"{}","report":"{}"}})", pieces.fingerprints[0],
                         pieces.fingerprints[1], pieces.fingerprints[2]);
  return m;
}

Json measured_of(const Calibration& found) {
  Json speeds = Json::array();
  for (const MeasuredSpeed& s : found.speeds) {
    speeds.push_back({{"policy", s.policy},
                      {"ms_per_token", s.ms_per_token},
                      {"over_full", s.over_full.ratio},
                      {"over_lossless", s.over_lossless.ratio}});
  }
  return {{"policy", found.policy}, {"speeds", std::move(speeds)}};
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

void tell(const Calibration& found, const Pieces& pieces) {
  fmt::print(stderr, "{}\npolicy: {}\n", found.promise, found.policy);
  for (const MeasuredSpeed& s : found.speeds) {
    fmt::print(stderr, "{:8.3f} ms a token, {:.2f} of full depth ({:.2f} to {:.2f}): {}\n", s.ms_per_token,
               s.over_full.ratio, s.over_full.low, s.over_full.high, s.policy);
  }
  for (const CalibratedSetting& s : found.settings) {
    if (!s.run) {
      fmt::print(stderr, "{}: forecast {:.2f} %, mean depth {:.2f}: not run\n", s.policy, 100 * s.predicted,
                 s.mean_depth);
      continue;
    }
    double worst = 0, mean = 0;
    for (const GroupBound& b : s.bounds) worst = std::max(worst, b.upper), mean = std::max(mean, b.mean);
    fmt::print(stderr, "{}: worst group {:.2f} %, bound {:.2f} %, mean depth {:.2f}, work {:.2f}: {}\n", s.policy,
               100 * mean, 100 * worst, s.mean_depth, s.work, s.certified ? "certified" : "not certified");
  }
  for (size_t g = 0; g < pieces.groups.size(); ++g) {
    const PieceGroup& group = pieces.groups[g];
    const int64_t missing = group.n_missing[0] + group.n_missing[1] + group.n_missing[2];
    if (missing > 0)
      spdlog::warn("group {}: {} pieces of those asked for are missing: give more text", group.name, missing);
  }
}

Result<int> run(const Args& args) {
  FATHOM_TRY(const std::vector<GroupData> groups, groups_of(args.data));
  FATHOM_TRY(check_place(args.output, kSidecar));  // before the work
  FATHOM_TRY(const std::string path, find_model(args.model.model));
  FATHOM_TRY(const ModelFile file, ModelFile::open(path));
  FATHOM_TRY(const BoundModel bound,
             binding_of(path, file, numerics_of(args.model), {.cache_folder = digest_folder()}));
  FATHOM_TRY(const Model model, pack(file, args.model));
  FATHOM_TRY(const Pieces pieces, sample_pieces(model.tokenizer(), groups,
                                                {.piece_tokens = args.piece_tokens,
                                                 .n_fit = std::max(6, args.pieces / 2),
                                                 .n_choose = args.pieces,
                                                 .n_report = std::max(1, args.pieces / 2),
                                                 .seed = args.seed}));
  Bar bar;
  CalibrateOptions options{
      .risk = args.risk, .confidence = args.confidence, .seed = args.seed, .threads = args.model.threads};
  options.origin = {.model_name = bound.binding.name.empty() ? args.model.model : bound.binding.name,
                    .model_file = path.substr(path.rfind('/') + 1),
                    .sha256 = bound.binding.sha256,
                    .machine = model.tables()[0]->name,
                    .command = command_of(args),
                    .library = FATHOM_VERSION};
  options.on_progress = show_progress_bar;
  options.context = &bar;
  const InterruptGuard guard;
  const Result<Calibration> found = calibrate(model, pieces, options);
  bar.end();
  if (!found) return found.error();
  const std::string manifest = manifest_json(manifest_of(args, *found, pieces, options, bound.binding)),
                    measured = measured_of(*found).dump();
  const std::vector<std::byte> parts = parts_bytes(found->exits);
  const SidecarSection sections[] = {{std::string(section::kManifest), bytes_of(manifest)},
                                     {std::string(section::kMeasured), bytes_of(measured)},
                                     {std::string(section::kParts), parts},
                                     {std::string(section::kReport), bytes_of(found->report)}};
  FATHOM_TRY(write_sidecar(args.output, sections));
  if (args.json) {
    FATHOM_TRY(print(found->report + "\n"));
  } else {
    tell(*found, pieces);
  }
  return kOk;
}

}  // namespace

Command add_calibrate(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("calibrate", "Find what pays on your text, and certify it");
  add_model_options(*verb, args->model);
  verb->add_option("--data", args->data, "NAME=FILE: texts of one kind; several kinds are certified each")->required();
  verb->add_option("-o,--output", args->output, "The sidecar; replaces nothing but an earlier one")->required();
  verb->add_option("--risk", args->risk, "Share of tokens that may differ from full depth")->capture_default_str();
  verb->add_option("--confidence", args->confidence, "Of the promise")->capture_default_str();
  add_whole_number(*verb, "--pieces", args->pieces, "Pieces of each kind of text that thresholds are certified on", 6,
                   100000);
  add_whole_number(*verb, "--piece-tokens", args->piece_tokens, "Tokens of a piece", 8, 4096);
  verb->add_option("--seed", args->seed, "Of everything that is drawn")->capture_default_str();
  verb->add_flag("--json", args->json, "The report as one line of JSON, docs/schema/report.json");
  return {verb, [args] { return run(*args); }};
}

}  // namespace fathom::cli
