// Adaptation: every check that a sidecar has to pass, one after the other.
#include "fathom/calibrate/adaptation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/parts.h"
#include "fathom/engine/session.h"
#include "src/calibrate/json_fields.h"

namespace fathom {
namespace {

// What was certified; where measurement says that it does not pay, what cannot change a token in its place.
Result<std::string> in_use(const SidecarFile& file, const Manifest& manifest) {
  if (file.find(section::kMeasured) == nullptr) return manifest.policy;
  FATHOM_TRY(const std::string_view json, file.json(section::kMeasured));
  FATHOM_TRY(const JsonValue value, parse_json(json, "measured"));
  std::optional<Error> error;
  const std::string policy = JsonField(&value, "measured", &error)["policy"].text_or(manifest.policy);
  if (error) return *error;
  if (policy == manifest.policy) return policy;
  if (const auto parsed = Policy::parse(policy); parsed && is_lossless(*parsed)) return policy;
  return Error{ErrorCode::format,
               fmt::format("measured: policy {}: neither certified nor lossless: calibrate again", policy)};
}

Result<Adaptation> opened(const std::string& path, const std::string& model_path, const ModelFile& model,
                          Numerics numerics, const Sha256Options& options) {
  FATHOM_TRY(const SidecarFile file, SidecarFile::open(path));
  FATHOM_TRY(const Manifest manifest, read_manifest(file));
  FATHOM_TRY(const BoundModel bound, binding_of(model_path, model, numerics, options));
  const std::vector<std::string> differences = compare(manifest.model, bound.binding);
  if (!differences.empty()) {
    return Error{ErrorCode::argument,
                 fmt::format("{}: made for another model: {}: calibrate this one", path, fmt::join(differences, "; "))};
  }
  Adaptation out;
  out.promise = manifest.promise;
  FATHOM_TRY(const std::string policy, in_use(file, manifest));
  FATHOM_TRY(out.policy, Policy::parse(policy));
  FATHOM_TRY(out.policy.check(model.config().n_layers));
  if (file.find(section::kParts) != nullptr) {
    FATHOM_TRY(const auto bytes, file.section(section::kParts));
    FATHOM_TRY(out.exits, read_parts(bytes));
  }
  return out;
}

}  // namespace

Adaptation adapt(const std::string& sidecar, const std::string& model_path, const ModelFile& model, Numerics numerics,
                 const Sha256Options& options) {
  Result<Adaptation> made = opened(sidecar, model_path, model, numerics, options);
  if (made) return std::move(*made);
  Adaptation refused;
  refused.refused = made.error().message;
  return refused;
}

Result<void> Adaptation::attach(Session& session, std::string_view group) const {
  if (exits.exits.empty()) return {};
  FATHOM_TRY(std::shared_ptr<const ExitHeads> heads, ExitHeads::make(session.model(), exits));
  return session.use(std::move(heads), group);
}

}  // namespace fathom
