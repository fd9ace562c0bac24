// Adaptation: every check that a sidecar has to pass, one after the other.
#include "fathom/calibrate/adaptation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>

#include "fathom/calibrate/calibrate.h"
#include "fathom/calibrate/limits.h"
#include "fathom/calibrate/manifest.h"
#include "fathom/calibrate/parts.h"
#include "fathom/engine/session.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

struct InUse {
  std::string policy;
  std::vector<std::pair<std::string, std::string>> groups;  // name, policy
};

bool reads_lossless(const std::string& text) {
  const Result<Policy> policy = Policy::parse(text);
  return policy && is_lossless(*policy);
}

const ManifestOwn* own_of(const Manifest& manifest, const std::string& group) {
  if (!manifest.certificate) return nullptr;
  for (const ManifestOwn& own : manifest.certificate->own) {
    if (own.bound.name == group) return &own;
  }
  return nullptr;
}

// What was certified; where measurement says that it does not pay, what cannot change a token in its place.
Result<InUse> in_use(const SidecarFile& file, const Manifest& manifest) {
  InUse used{.policy = manifest.policy, .groups = {}};
  if (file.find(section::kMeasured) == nullptr) return used;
  FATHOM_TRY(const std::string_view json, file.json(section::kMeasured));
  FATHOM_TRY(const JsonValue value, parse_json(json, "measured"));
  std::optional<Error> error;
  const JsonField in(&value, "measured", &error);
  used.policy = in["policy"].text_or(manifest.policy);
  in["groups"].each(kMostGroups, [&](const JsonField& group) {
    used.groups.emplace_back(group["name"].text(), group["policy"].text());
  });
  if (error) return *error;
  const auto unknown = [](std::string_view what, const std::string& policy) {
    return Error{ErrorCode::format,
                 fmt::format("{}: policy {}: neither certified nor lossless: calibrate again", what, policy)};
  };
  if (used.policy != manifest.policy && !reads_lossless(used.policy)) return unknown("measured", used.policy);
  for (const auto& [name, policy] : used.groups) {
    const ManifestOwn* own = own_of(manifest, name);
    if (own == nullptr || (policy != own->policy && !reads_lossless(policy))) {
      return unknown("measured for group " + name, policy);
    }
  }
  return used;
}

Result<Policy> readable(const std::string& text, int32_t n_layers) {
  FATHOM_TRY(Policy policy, Policy::parse(text));
  FATHOM_TRY(policy.check(n_layers));
  return policy;
}

Result<void> add(std::vector<CertifiedPolicy>& all, double risk, const std::string& policy,
                 const std::vector<ManifestOwn>& own, int32_t n_layers) {
  if (!policy.empty()) {
    FATHOM_TRY(Policy read, readable(policy, n_layers));
    all.push_back({risk, "", std::move(read)});
  }
  for (const ManifestOwn& one : own) {
    FATHOM_TRY(Policy read, readable(one.policy, n_layers));
    all.push_back({risk, one.bound.name, std::move(read)});
  }
  return {};
}

// Every policy that the sidecar holds; one that cannot be read spoils it.
Result<void> read_policies(const SidecarFile& file, const Manifest& manifest, int32_t n_layers, Adaptation& out) {
  FATHOM_TRY(const InUse used, in_use(file, manifest));
  FATHOM_TRY(out.policy, readable(used.policy, n_layers));
  for (const ManifestGroup& group : manifest.groups) out.groups.push_back(group.name);
  if (!manifest.certificate) return {};
  const ManifestCertificate& certificate = *manifest.certificate;
  const bool holds = certificate.certified || certificate.lossless;
  out.temperature = certificate.temperature;
  FATHOM_TRY(add(out.certified, certificate.risk, holds ? manifest.policy : "", certificate.own, n_layers));
  for (const ManifestLevel& level : certificate.levels) {
    FATHOM_TRY(add(out.certified, level.risk, level.policy, level.own, n_layers));
  }
  for (const auto& [name, policy] : used.groups) {
    FATHOM_TRY(Policy read, readable(policy, n_layers));
    out.of_groups.push_back({certificate.risk, name, std::move(read)});
  }
  return {};
}

Result<Adaptation> opened(const std::string& path, const std::string& model_path, const ModelFile& model,
                          const Rounding& rounding, const Sha256Options& options) {
  FATHOM_TRY(const SidecarFile file, SidecarFile::open(path));
  FATHOM_TRY(const Manifest manifest, read_manifest(file));
  FATHOM_TRY(const BoundModel bound, binding_of(model_path, model, rounding, options));
  const std::vector<std::string> differences = compare(manifest.model, bound.binding);
  if (!differences.empty()) {
    return Error{ErrorCode::argument,
                 fmt::format("{}: made for another model: {}: calibrate this one", path, fmt::join(differences, "; "))};
  }
  Adaptation out;
  out.promise = manifest.promise;
  FATHOM_TRY(read_policies(file, manifest, model.config().n_layers, out));
  if (file.find(section::kParts) != nullptr) {
    FATHOM_TRY(const auto bytes, file.section(section::kParts));
    FATHOM_TRY(out.exits, read_parts(bytes));
  }
  if (file.find(section::kRouters) != nullptr) {
    FATHOM_TRY(const auto bytes, file.section(section::kRouters));
    FATHOM_TRY(out.routers, read_routers(bytes));
  }
  return out;
}

std::atomic<uint64_t> n_refused{0};

}  // namespace

uint64_t refused_sidecars() { return n_refused; }

Adaptation adapt(const std::string& sidecar, const std::string& model_path, const ModelFile& model,
                 const Rounding& rounding, const Sha256Options& options) {
  Result<Adaptation> made = opened(sidecar, model_path, model, rounding, options);
  if (made) return std::move(*made);
  ++n_refused;
  Adaptation refused;
  refused.refused = made.error().message;
  return refused;
}

const CertifiedPolicy* Adaptation::find(std::string_view name, double risk) const {
  const auto at = std::find_if(certified.begin(), certified.end(),
                               [&](const CertifiedPolicy& c) { return c.group == name && c.risk == risk; });
  return at == certified.end() ? nullptr : &*at;
}

Result<void> Adaptation::choose(std::string_view name, std::optional<double> risk) {
  if (!refused.empty()) return {};
  const auto wrong = [](std::string what) { return Error{ErrorCode::argument, std::move(what)}; };
  if (!name.empty() && std::find(groups.begin(), groups.end(), name) == groups.end()) {
    return wrong(fmt::format("group '{}': the sidecar knows {}: name one of them", name, fmt::join(groups, ", ")));
  }
  const CertifiedPolicy* chosen = nullptr;
  if (risk) {
    chosen = name.empty() ? nullptr : find(name, *risk);
    if (chosen == nullptr) chosen = find("", *risk);
    std::vector<double> known;
    for (const CertifiedPolicy& c : certified) {
      if (known.empty() || known.back() != c.risk) known.push_back(c.risk);
    }
    if (chosen == nullptr) {
      return wrong(
          fmt::format("risk level {}: the sidecar holds policies for {}: name one of them, or calibrate with "
                      "this one",
                      *risk, known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
    }
  } else if (!name.empty()) {
    for (const CertifiedPolicy& c : of_groups) {
      if (c.group == name) chosen = &c;
    }
  }
  if (chosen == nullptr) return {};
  policy = chosen->policy;
  group = chosen->group;
  return {};
}

std::string Adaptation::uncovered(const SampleOptions& sample) const {
  if (certified.empty() || is_lossless(policy)) return {};
  const auto in_words = [](double t) {
    return t > 0 ? fmt::format("tokens drawn at temperature {:g}", t) : std::string("greedy tokens");
  };
  if (static_cast<float>(temperature) != sample.temperature) {
    return fmt::format("certified for {}, which says nothing about {}: give temperature {:g}, or calibrate at {:g}",
                       in_words(temperature), in_words(sample.temperature), temperature, sample.temperature);
  }
  const bool penalised = sample.repeat_penalty != 1 || sample.presence_penalty != 0 || sample.frequency_penalty != 0;
  if (!sample.bias.empty() || (penalised && sample.penalty_last != 0)) {
    return "certified without penalties and bias, which change what is compared: leave them out";
  }
  const bool truncates = sample.top_k != 0 || sample.top_p < 1 || sample.min_p > 0;
  if (temperature > 0 && truncates) {
    return "certified for draws of all tokens: leave out top_k, top_p and min_p, by which the rest weighs more";
  }
  return {};
}

Result<void> Adaptation::attach(Session& session) const {
  if (!routers.empty()) {
    FATHOM_TRY(std::shared_ptr<const Routers> ready, Routers::make(session.model(), routers));
    FATHOM_TRY(session.use_routers(std::move(ready)));
  }
  if (exits.exits.empty()) return {};
  FATHOM_TRY(std::shared_ptr<const ExitHeads> heads, ExitHeads::make(session.model(), exits));
  return session.use(std::move(heads), group);
}

}  // namespace fathom
