// `fathom policy`: the sidecars of a folder, what differs between two, which one is active, and the way back. Last of
// the verbs.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "fathom/calibrate/policy_store.h"
#include "src/cli/command.h"
#include "src/cli/depth_picture.h"

namespace fathom::cli {
namespace {

constexpr size_t kShownDigits = 12;  // of a digest, where people compare two

struct Args {
  std::string folder;
  std::string name, other;
  bool json = false;
};

// A text from a file, for one line of a terminal.
std::string shown(std::string_view text) {
  std::string line = harmless(text);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return line;
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::vector<std::string> names_of(const std::vector<ManifestGroup>& groups) {
  std::vector<std::string> names;
  for (const ManifestGroup& group : groups) names.push_back(group.name);
  return names;
}

// As the store has it: `name` may have been given as the file's name.
std::string plain_name(const std::string& name) {
  constexpr std::string_view kEnding = ".fathom";
  return name.ends_with(kEnding) ? name.substr(0, name.size() - kEnding.size()) : name;
}

std::string model_text(const SidecarBinding& model) {
  const std::string digest = "sha256 " + model.sha256.substr(0, kShownDigits);
  return model.name.empty() ? digest : fmt::format("{} ({})", shown(model.name), digest);
}

// ---- list ---------------------------------------------------------------------------------------------------------

// What is wrong with what is active; empty: nothing, or nothing is.
std::string fault_of_active(const PolicyStore& store) {
  const auto active = store.active();
  if (!active) return active.error().message;
  if (!*active) return {};
  const auto file = store.open_active();
  return file ? std::string() : file.error().message;
}

Json to_json(const StoredPolicy& p) {
  const Manifest* m = p.manifest ? &*p.manifest : nullptr;
  const ManifestCertificate* c = m != nullptr && m->certificate ? &*m->certificate : nullptr;
  return {{"name", p.name},
          {"path", p.path},
          {"bytes", p.bytes},
          {"time", p.time},
          {"active", p.active},
          {"policy", m != nullptr ? Json(m->policy) : Json()},
          {"model", m != nullptr ? or_null(m->model.name) : Json()},
          {"model_sha256", m != nullptr ? Json(m->model.sha256) : Json()},
          {"groups", m != nullptr ? Json(names_of(m->groups)) : Json::array()},
          {"certified", c != nullptr ? Json(c->certified) : Json()},
          {"lossless", c != nullptr ? Json(c->lossless) : Json()},
          {"promise", m != nullptr ? or_null(m->promise) : Json()},
          {"fault", or_null(p.fault)}};
}

Json to_json(const ActivePolicy& a) {
  return {{"name", a.name}, {"sha256", a.sha256}, {"time", a.time}, {"entry", a.entry}};
}

std::string to_text(const StoredPolicy& p) {
  const char mark = !p.fault.empty() ? '!' : p.active ? '*' : ' ';
  std::string text = fmt::format("{} {}  {}", mark, shown(p.name), p.time);
  const std::string fault = p.fault.empty() ? "" : fmt::format("    {}\n", shown(p.fault));
  if (!p.manifest) return text + "\n" + fault;
  const Manifest& m = *p.manifest;
  text += "  " + model_text(m.model);
  if (!m.groups.empty()) text += shown(fmt::format("  groups: {}", fmt::join(names_of(m.groups), ", ")));
  text += fmt::format("\n    {}\n", shown(m.policy));
  if (!m.promise.empty()) text += fmt::format("    {}\n", shown(m.promise));
  return text + fault;
}

Result<int> list(const Args& args) {
  FATHOM_TRY(const PolicyStore store, PolicyStore::open(args.folder));
  FATHOM_TRY(const std::vector<StoredPolicy> policies, store.list());
  const auto active = store.active();
  const std::string fault = fault_of_active(store);
  if (args.json) {
    Json now = active && *active ? to_json(**active) : Json();
    if (!now.is_null()) now["fault"] = or_null(fault);
    Json rows = Json::array();
    for (const StoredPolicy& p : policies) rows.push_back(to_json(p));
    FATHOM_TRY(print_json({{"folder", args.folder}, {"active", now}, {"policies", rows}}));
  } else {
    std::string text = policies.empty() ? fmt::format("no sidecars in {}\n", args.folder) : "";
    for (const StoredPolicy& p : policies) text += to_text(p);
    FATHOM_TRY(print(text));
  }
  if (!fault.empty()) spdlog::warn(shown(fault));
  return kOk;
}

// ---- show ---------------------------------------------------------------------------------------------------------

// A line of `show`: what it is about, then what is said; continued lines leave the first column empty.
std::string line(std::string_view what, std::string_view said) { return fmt::format("{:<12} {}\n", what, shown(said)); }

std::string bounds_text(const std::vector<ManifestBound>& groups, const std::vector<ManifestOwn>& own) {
  std::string text;
  const auto said = [](const ManifestBound& g) {
    return fmt::format("{}: mean {}, at most {}, {} pieces", g.name, g.mean, g.upper, g.pieces);
  };
  for (const ManifestBound& g : groups) text += line("", said(g));
  for (const ManifestOwn& one : own) text += line("", fmt::format("{} by its own {}", said(one.bound), one.policy));
  return text;
}

std::string certificate_text(const ManifestCertificate& c) {
  const std::string drawn = c.temperature > 0 ? fmt::format(", of tokens drawn at temperature {}", c.temperature) : "";
  std::string text = line(
      "certificate", c.lossless    ? "lossless: no token can differ from full depth"
                     : c.certified ? fmt::format("risk {} at confidence {}{}", c.risk, c.confidence, drawn)
                                   : fmt::format("none: risk {} at confidence {} was not shown", c.risk, c.confidence));
  text += bounds_text(c.groups, c.own);
  for (const ManifestLevel& level : c.levels) {
    text += line("", fmt::format("risk {} as well: {}", level.risk, level.policy.empty() ? "nothing" : level.policy));
    text += bounds_text(level.groups, level.own);
  }
  return text;
}

std::string manifest_text(const Manifest& m) {
  std::string text;
  const char* what = "policy";
  for (const std::string& stage : stages_of(m.policy)) {
    text += line(what, stage);
    what = "";
  }
  text += line("model", fmt::format("{}, {} layers, d_model {}, vocabulary {}", m.model.name, m.model.n_layers,
                                    m.model.d_model, m.model.vocab));
  text += line("", "sha256 " + m.model.sha256);
  text += line("", fmt::format("tokenizer {:016x}, numerics {}", m.model.tokenizer, m.model.numeric_path));
  what = "groups";
  for (const ManifestGroup& g : m.groups) {
    text += line(what, fmt::format("{}: thresholds {}; temperatures {}", g.name, fmt::join(g.thresholds, " "),
                                   fmt::join(g.temperatures, " ")));
    what = "";
  }
  if (m.certificate) text += certificate_text(*m.certificate);
  if (!m.promise.empty()) text += line("promise", m.promise);
  if (m.seed) text += line("seed", fmt::to_string(*m.seed));
  if (!m.splits.empty()) text += line("splits", m.splits);
  if (!m.library.empty()) text += line("written by", "fathom " + m.library);
  return text;
}

Result<int> show(const Args& args) {
  FATHOM_TRY(const PolicyStore store, PolicyStore::open(args.folder));
  FATHOM_TRY(const SidecarFile file, store.sidecar(args.name));
  FATHOM_TRY(const Manifest manifest, read_manifest(file));
  FATHOM_TRY(const std::string_view raw, file.json(section::kManifest));
  const auto active = store.active();
  const std::string name = plain_name(args.name);
  const bool is_active = active && *active && (*active)->name == name;
  if (args.json) {
    Json sections = Json::array();
    for (const SidecarSection& s : file.sections()) sections.push_back({{"name", s.name}, {"bytes", s.bytes.size()}});
    FATHOM_TRY(print_json({{"name", name},
                           {"path", file.path()},
                           {"bytes", file.bytes().size()},
                           {"active", is_active},
                           {"sections", sections},
                           {"manifest", nlohmann::json::parse(raw)}}));
    return kOk;
  }
  std::string text = line("name", name + (is_active ? ", active since " + (*active)->time : ""));
  text += line("file", fmt::format("{}, {} bytes", file.path(), file.bytes().size()));
  text += manifest_text(manifest);
  const char* what = "sections";
  for (const SidecarSection& s : file.sections()) {
    text += line(what, fmt::format("{}, {} bytes", s.name, s.bytes.size()));
    what = "";
  }
  FATHOM_TRY(print(text));
  if (const std::string fault = fault_of_active(store); is_active && !fault.empty()) spdlog::warn(shown(fault));
  return kOk;
}

// ---- diff ---------------------------------------------------------------------------------------------------------

Result<int> diff(const Args& args) {
  FATHOM_TRY(const PolicyStore store, PolicyStore::open(args.folder));
  FATHOM_TRY(const SidecarFile file_a, store.sidecar(args.name));
  FATHOM_TRY(const SidecarFile file_b, store.sidecar(args.other));
  FATHOM_TRY(const Manifest a, read_manifest(file_a));
  FATHOM_TRY(const Manifest b, read_manifest(file_b));
  const std::vector<ManifestDifference> found = compare(a, b);
  if (args.json) {
    Json rows = Json::array();
    for (const ManifestDifference& d : found) {
      rows.push_back({{"what", d.what}, {"a", or_null(d.a)}, {"b", or_null(d.b)}});
    }
    FATHOM_TRY(print_json(
        {{"a", plain_name(args.name)}, {"b", plain_name(args.other)}, {"same", found.empty()}, {"differences", rows}}));
    return kOk;
  }
  std::string text = found.empty() ? "the manifests are equal\n" : "";
  for (const ManifestDifference& d : found) {
    text += shown(d.what) + "\n";
    if (!d.a.empty()) text += fmt::format("  - {}\n", shown(d.a));
    if (!d.b.empty()) text += fmt::format("  + {}\n", shown(d.b));
  }
  FATHOM_TRY(print(text));
  return kOk;
}

// ---- activate, rollback -------------------------------------------------------------------------------------------

Result<int> tell(const Args& args, const ActivePolicy& active) {
  if (args.json) {
    FATHOM_TRY(print_json(to_json(active)));
  } else {
    FATHOM_TRY(print(fmt::format("{} is active since {} (sha256 {})\n", shown(active.name), shown(active.time),
                                 active.sha256.substr(0, kShownDigits))));
  }
  return kOk;
}

Result<int> activate(const Args& args) {
  FATHOM_TRY(const PolicyStore store, PolicyStore::open(args.folder));
  FATHOM_TRY(const ActivePolicy active, store.activate(args.name));
  return tell(args, active);
}

Result<int> rollback(const Args& args) {
  FATHOM_TRY(const PolicyStore store, PolicyStore::open(args.folder));
  FATHOM_TRY(const ActivePolicy active, store.rollback());
  return tell(args, active);
}

CLI::App* add(CLI::App& verb, Args& args, const char* name, const char* help, const char* schema) {
  CLI::App* below = verb.add_subcommand(name, help);
  below->add_option("-d,--dir", args.folder, "The folder with the sidecars")->required();
  below->add_flag("--json", args.json, fmt::format("One line of JSON, docs/schema/policy_{}.json", schema));
  return below;
}

}  // namespace

Command add_policy(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("policy", "The sidecars of a folder: look at them, activate one, go back");
  constexpr const char* kName = "Name of a sidecar: its file without .fathom";
  struct Below {
    CLI::App* app;
    Result<int> (*run)(const Args&);
  };
  const std::vector<Below> below = {
      {add(*verb, *args, "list", "Every sidecar, with the active one marked", "list"), list},
      {add(*verb, *args, "show", "What a sidecar says about itself", "show"), show},
      {add(*verb, *args, "diff", "What two sidecars say differently", "diff"), diff},
      {add(*verb, *args, "activate", "Make a sidecar the active one", "activate"), activate},
      {add(*verb, *args, "rollback", "Go back to the one that was active before", "activate"), rollback}};
  for (size_t i : {1, 2, 3}) below[i].app->add_option("name", args->name, kName)->required();
  below[2].app->add_option("other", args->other, kName)->required();
  verb->allow_extras();  // a verb that there is not is named below
  return {verb, [args, verb, below]() -> Result<int> {
            for (const Below& b : below) {
              if (b.app->parsed()) return b.run(*args);
            }
            const std::vector<std::string> words = verb->remaining();
            return Error{ErrorCode::argument, fmt::format("no verb{}: give list, show, diff, activate or rollback",
                                                          words.empty() ? "" : " " + words.front())};
          }};
}

}  // namespace fathom::cli
