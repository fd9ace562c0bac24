// What --policy names. Next: stream.cc.
#include "src/cli/policy_choice.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "fathom/calibrate/sidecar_file.h"
#include "src/calibrate/whole_file.h"

namespace fathom::cli {

bool is_sidecar(const std::string& policy) { return policy.ends_with(".fathom") || begins_with(policy, kSidecarStart); }

CLI::Option* add_policy_options(CLI::App& verb, PolicyArgs& args) {
  verb.add_flag("--strict", args.strict, "Fail where a sidecar does not fit, in place of running at full depth");
  verb.add_option("--group", args.group,
                  "The group of texts of a sidecar whose own policy is used; default: that for all");
  verb.add_option("--risk-level", args.risk,
                  "The certified level of a sidecar whose policy is used; default: its first");
  return verb.add_option(
      "--policy", args.text,
      "What decides each token's depth: a text, docs/policies.md, or the path of a sidecar; default: full_depth");
}

Result<PolicyChoice> PolicyChoice::read(const PolicyArgs& args) {
  PolicyChoice choice;
  choice.args_ = args;
  if (args.text && is_sidecar(*args.text)) {
    choice.sidecar_ = *args.text;
    if (access(args.text->c_str(), F_OK) != 0) {
      return Error{ErrorCode::file, fmt::format("--policy {}: no such file: fathom calibrate writes one", *args.text)};
    }
    return choice;
  }
  if (!args.group.empty() || args.risk) {
    return Error{ErrorCode::argument, fmt::format("{}: goes only with a sidecar: give --policy NAME.fathom",
                                                  args.group.empty() ? "--risk-level" : "--group " + args.group)};
  }
  FATHOM_TRY(choice.adaptation_.policy, read_policy(args.text));
  return choice;
}

Result<void> PolicyChoice::bind(const ModelArgs& args, const ModelFile& file) {
  if (sidecar_.empty()) return {};
  FATHOM_TRY(const std::string path, find_model(args.model));
  adaptation_ = adapt(sidecar_, path, file, rounding_of(args), {.cache_folder = digest_folder()});
  if (adaptation_.refused.empty()) return adaptation_.choose(args_.group, args_.risk);
  if (args_.strict) return Error{ErrorCode::file, adaptation_.refused};
  spdlog::warn("{}; running at full depth", adaptation_.refused);
  return {};
}

Result<void> PolicyChoice::cover(const SampleOptions& sample) const {
  const std::string why = adaptation_.uncovered(sample);
  if (why.empty()) return {};
  if (args_.strict) return Error{ErrorCode::argument, fmt::format("{}: {}", sidecar_, why)};
  spdlog::warn("{}: {}", sidecar_, why);
  return {};
}

}  // namespace fathom::cli
