// Writing and opening a task's sidecar. Next: task_report.cc.
#include "fathom/classify/task_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/section_bytes.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

constexpr std::string_view kLabels = "labels", kTask = "task";
constexpr int32_t kMostTokens = 1 << 24;

using Json = nlohmann::ordered_json;

Manifest manifest_of(const TrainedTask& task, const TrainOptions& options, const SidecarBinding& model,
                     const TaskOrigin& origin) {
  Manifest manifest{.library = origin.library, .policy = task.policy.text(), .model = model};
  manifest.promise = task.promise;
  manifest.seed = origin.seed;
  ManifestCertificate certificate{.risk = options.risk, .confidence = options.confidence, .certified = true};
  certificate.lossless = !task.certified;  // full depth's labels
  if (!options.by_label) {
    for (const GroupBound& bound : task.choice.passed) {
      const std::string& name = task.promised[static_cast<size_t>(bound.group)];
      certificate.groups.push_back({name.empty() ? "all" : name, bound.n, bound.mean, std::min(1.0, bound.upper)});
    }
  }
  manifest.certificate = std::move(certificate);
  return manifest;
}

Result<Policy> readable(const std::string& text, int32_t n_layers) {
  FATHOM_TRY(Policy policy, Policy::parse(text));
  FATHOM_TRY(policy.check(n_layers));
  return policy;
}

// Another numeric path changes states a little, and a certificate altogether; anything else, what heads read.
bool only_path_differs(const SidecarBinding& a, const SidecarBinding& b) {
  SidecarBinding same_path = a;
  same_path.numeric_path = b.numeric_path;
  return compare(same_path, b).empty();
}

struct TaskSection {
  int32_t max_tokens = 0;
  bool pays = true;
};

Result<TaskSection> read_task_section(const SidecarFile& file) {
  FATHOM_TRY(const std::string_view json, file.json(kTask));
  FATHOM_TRY(const JsonValue document, parse_json(json, kTask));
  std::optional<Error> error;
  const JsonField in(&document, std::string(kTask), &error);
  TaskSection task{.max_tokens = static_cast<int32_t>(in["max_tokens"].whole(1, kMostTokens)), .pays = true};
  if (error) return *std::move(error);
  if (file.find(section::kMeasured) == nullptr) return task;
  FATHOM_TRY(const std::string_view measured, file.json(section::kMeasured));
  FATHOM_TRY(const JsonValue times, parse_json(measured, section::kMeasured));
  task.pays = JsonField(&times, std::string(section::kMeasured), &error)["pays"].flag();
  if (error) return *std::move(error);
  return task;
}

}  // namespace

Result<void> write_task(const std::string& path, const TrainedTask& task, const TrainOptions& options,
                        const SidecarBinding& model, int32_t max_tokens, const TaskOrigin& origin,
                        std::string_view report) {
  const std::string manifest = manifest_json(manifest_of(task, options, model, origin));
  const std::string settings = Json{{"max_tokens", max_tokens}, {"by_label", options.by_label}}.dump();
  const std::string measured =
      Json{{"full_seconds", task.full_seconds}, {"policy_seconds", task.policy_seconds}, {"pays", task.pays()}}.dump();
  const std::vector<std::byte> labels = label_bytes(task.labels);
  const SidecarSection sections[] = {{std::string(section::kManifest), bytes_of(manifest)},
                                     {std::string(kTask), bytes_of(settings)},
                                     {std::string(section::kMeasured), bytes_of(measured)},
                                     {std::string(kLabels), labels},
                                     {std::string(section::kReport), bytes_of(report)}};
  return write_readable(path, sections);
}

Result<TaskFile> open_task(const std::string& path, const std::string& model_path, const ModelFile& model,
                           const Rounding& rounding, const Sha256Options& options) {
  FATHOM_TRY(const SidecarFile file, SidecarFile::open(path));
  if (file.find(kLabels) == nullptr || file.find(kTask) == nullptr) {
    return Error{ErrorCode::argument,
                 fmt::format("{}: a sidecar without label heads: give what `fathom classify train` wrote", path)};
  }
  FATHOM_TRY(const Manifest manifest, read_manifest(file));
  FATHOM_TRY(const BoundModel bound, binding_of(model_path, model, rounding, options));
  const std::vector<std::string> differences = compare(manifest.model, bound.binding);
  if (!differences.empty() && !only_path_differs(manifest.model, bound.binding)) {
    return Error{ErrorCode::argument, fmt::format("{}: trained for another model: {}: train it on this one", path,
                                                  fmt::join(differences, "; "))};
  }
  TaskFile task;
  FATHOM_TRY(const auto labels, file.section(kLabels));
  FATHOM_TRY(task.labels, read_labels(labels));
  FATHOM_TRY(const TaskSection said, read_task_section(file));
  FATHOM_TRY(const Policy certified, readable(manifest.policy, model.config().n_layers));
  task.max_tokens = said.max_tokens;
  if (!differences.empty()) {
    task.warning = fmt::format("{}: full depth runs, and nothing is promised", fmt::join(differences, "; "));
    return task;
  }
  task.promise = manifest.promise;
  task.certified = certified;
  if (said.pays) task.policy = certified;
  return task;
}

}  // namespace fathom
