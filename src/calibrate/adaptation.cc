// Adaptation: every check that a sidecar has to pass, one after the other.
#include "fathom/calibrate/adaptation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/parts.h"
#include "fathom/engine/session.h"

namespace fathom {
namespace {

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
  FATHOM_TRY(out.policy, Policy::parse(manifest.policy));
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
