// Writing and opening an embedding's sidecar, and what was found as JSON.
#include "fathom/calibrate/embedding_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/cosine_sequence.h"
#include "src/calibrate/section_bytes.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

constexpr std::string_view kEmbedding = "embedding";
constexpr int32_t kMostTokens = 1 << 24;

using Json = nlohmann::ordered_json;

Json bounds_of(const std::vector<GroupBound>& bounds, const EmbeddingCertificate& found) {
  Json all = Json::array();
  for (const GroupBound& b : bounds) {
    all.push_back({{"name", found.groups[static_cast<size_t>(b.group)]},
                   {"texts", b.n},
                   {"below", b.mean},
                   {"upper", b.upper},
                   {"missing", b.missing()}});
  }
  return all;
}

Json trials_of(const EmbeddingCertificate& found, const EmbeddingOptions& options) {
  const CosineRule rule{options.cosine, options.risk, options.confidence};
  Json all = Json::array();
  for (size_t i = 0; i < found.trials.size(); ++i) {
    const EmbeddingTrial& trial = found.trials[i];
    int64_t n = 0, below = 0;
    double sum = 0;
    for (const auto& of : trial.cosines) {
      n += std::ssize(of);
      below += rule.below(of);
      for (const float c : of) sum += double{c};
    }
    const auto place = std::find(found.sequence.begin(), found.sequence.end(), static_cast<int32_t>(i));
    const auto at = place - found.sequence.begin();
    const auto count = static_cast<double>(std::max<int64_t>(n, 1));
    all.push_back({{"policy", trial.policy.text()},
                   {"texts", n},
                   {"below", double(below) / count},
                   {"mean_cosine", sum / count},
                   {"kept_by_half", trial.kept_by_all_but(0.5)},
                   {"kept_by_all_but_risk", trial.kept_by_all_but(options.risk)},
                   {"work", trial.work},
                   {"speed", trial.speed},
                   {"ended", trial.ended},
                   {"place", place == found.sequence.end() ? Json() : Json(at + 1)},
                   {"certified", place != found.sequence.end() && at <= found.choice.candidate}});
  }
  return all;
}

Json times_of(const EmbeddingTimes& times) {
  return {{"texts", times.texts},
          {"pairs", times.pairs},
          {"full_seconds", times.full_seconds},
          {"policy_seconds", times.policy_seconds},
          {"ratio", times.ratio},
          {"least", times.least},
          {"most", times.most}};
}

Manifest manifest_of(const EmbeddingCertificate& found, const EmbeddingOptions& options, const SidecarBinding& model,
                     const EmbeddingOrigin& origin) {
  Manifest manifest{.library = origin.library, .policy = found.policy.text(), .model = model};
  manifest.promise = found.promise;
  manifest.seed = options.seed;
  ManifestCertificate certificate{.risk = options.risk, .confidence = options.confidence, .certified = true};
  certificate.lossless = !found.certified;  // full depth's vectors
  for (const GroupBound& bound : found.choice.passed) {
    certificate.groups.push_back(
        {found.groups[static_cast<size_t>(bound.group)], bound.n, bound.mean, std::min(1.0, bound.upper)});
  }
  manifest.certificate = std::move(certificate);
  return manifest;
}

Result<EmbeddingFile> opened(const std::string& path, const std::string& model_path, const ModelFile& model,
                             const Rounding& rounding, std::optional<int32_t> max_tokens,
                             const Sha256Options& options) {
  FATHOM_TRY(const SidecarFile file, SidecarFile::open(path));
  if (file.find(kEmbedding) == nullptr) {
    return Error{ErrorCode::argument, fmt::format("{}: a sidecar that is about no embedding: give what `fathom "
                                                  "calibrate-embed` wrote",
                                                  path)};
  }
  FATHOM_TRY(const std::string_view json, file.json(kEmbedding));
  FATHOM_TRY(const JsonValue settings, parse_json(json, kEmbedding));
  FATHOM_TRY(const std::string_view measured, file.json(section::kMeasured));
  FATHOM_TRY(const JsonValue times, parse_json(measured, section::kMeasured));
  std::optional<Error> error;
  const JsonField in(&settings, std::string(kEmbedding), &error);
  EmbeddingFile out{.policy = {},
                    .certified = {},
                    .max_tokens = static_cast<int32_t>(in["max_tokens"].whole(1, kMostTokens)),
                    .cosine = in["cosine"].number(0, 1)};
  const bool pays = JsonField(&times, std::string(section::kMeasured), &error)["pays"].flag();
  if (error) return *std::move(error);
  if (out.max_tokens > model.config().context) {
    return Error{ErrorCode::argument, fmt::format("{}: made for texts cut at {} tokens, the model reads {} at most",
                                                  path, out.max_tokens, model.config().context)};
  }
  FATHOM_TRY(const Manifest manifest, read_manifest(file));
  FATHOM_TRY(const BoundModel bound, binding_of(model_path, model, rounding, options));
  std::vector<std::string> differences = compare(manifest.model, bound.binding);
  if (max_tokens && *max_tokens != out.max_tokens) {
    differences.push_back(fmt::format("texts are cut at {} tokens, not at {}", *max_tokens, out.max_tokens));
  }
  if (!differences.empty()) {
    out.warning = fmt::format("{}: {}: full depth runs, and nothing is promised", path, fmt::join(differences, "; "));
    return out;
  }
  FATHOM_TRY(Policy certified, Policy::parse(manifest.policy));
  FATHOM_TRY(certified.check(model.config().n_layers));
  if (!manifest.certificate || !manifest.certificate->certified) return out;
  out.promise = manifest.promise;
  if (pays) out.policy = certified;
  out.certified = std::move(certified);
  return out;
}

}  // namespace

std::string embedding_report_json(const EmbeddingCertificate& found, const EmbeddingOptions& options,
                                  const EmbeddingOrigin& origin) {
  Json groups = Json::array();
  for (size_t g = 0; g < found.groups.size(); ++g) {
    groups.push_back({{"name", found.groups[g]}, {"choose", found.n_choose[g]}, {"certify", found.n_certify[g]}});
  }
  const Json json = {{"model", origin.model_name},
                     {"machine", origin.machine},
                     {"library", origin.library},
                     {"command", origin.command},
                     {"max_tokens", origin.max_tokens},
                     {"cosine", options.cosine},
                     {"risk", options.risk},
                     {"confidence", options.confidence},
                     {"seed", options.seed},
                     {"groups", std::move(groups)},
                     {"same", found.n_same},
                     {"trials", trials_of(found, options)},
                     {"certified", found.certified},
                     {"policy", found.policy.text()},
                     {"work", found.work},
                     {"passed", bounds_of(found.choice.passed, found)},
                     {"refused", bounds_of(found.choice.refused, found)},
                     {"times", times_of(found.times)},
                     {"pays", found.pays()},
                     {"promise", found.promise},
                     {"verdict", found.verdict}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<void> write_embedding(const std::string& path, const EmbeddingCertificate& found,
                             const EmbeddingOptions& options, const SidecarBinding& model,
                             const EmbeddingOrigin& origin) {
  const std::string manifest = manifest_json(manifest_of(found, options, model, origin));
  const std::string settings = Json{{"max_tokens", origin.max_tokens}, {"cosine", options.cosine}}.dump();
  Json times = times_of(found.times);
  times["pays"] = found.pays();
  const std::string measured = times.dump(), report = embedding_report_json(found, options, origin);
  const SidecarSection sections[] = {{std::string(section::kManifest), bytes_of(manifest)},
                                     {std::string(kEmbedding), bytes_of(settings)},
                                     {std::string(section::kMeasured), bytes_of(measured)},
                                     {std::string(section::kReport), bytes_of(report)}};
  return write_readable(path, sections);
}

EmbeddingFile open_embedding(const std::string& path, const std::string& model_path, const ModelFile& model,
                             const Rounding& rounding, std::optional<int32_t> max_tokens,
                             const Sha256Options& options) {
  Result<EmbeddingFile> made = opened(path, model_path, model, rounding, max_tokens, options);
  if (made) return std::move(*made);
  EmbeddingFile refused;
  refused.warning = made.error().message + ": full depth runs, and nothing is promised";
  return refused;
}

}  // namespace fathom
