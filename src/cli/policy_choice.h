// PolicyChoice: what --policy names, a text or a sidecar, and --strict. Next: policy_choice.cc.
#pragma once

#include <optional>
#include <string>

#include "fathom/calibrate/adaptation.h"
#include "src/cli/command.h"

namespace fathom::cli {

struct PolicyArgs {
  std::optional<std::string> text = {};  // a policy, or the path of a sidecar
  bool strict = false;                   // a sidecar that does not fit ends the run
  std::string group = {};                // whose own policy of the sidecar is used; empty: the one for all
  std::optional<double> risk = {};       // the level of the sidecar that is used
};
/// Whether what --policy says is a sidecar: by its name's end, or by what a file of this name begins with.
bool is_sidecar(const std::string& policy);

/// `--policy`, `--strict`, `--group` and `--risk-level`.
CLI::Option* add_policy_options(CLI::App& verb, PolicyArgs& args);

class PolicyChoice {
 public:
  /// Reads a text; of a sidecar the path.
  ///   errors   those of read_policy()
  static Result<PolicyChoice> read(const PolicyArgs& args);

  /// Opens the sidecar for a model; what does not fit is full depth, with a warning, or under --strict an error.
  ///   errors   argument: a group or a level that a sidecar that fits does not know
  Result<void> bind(const ModelArgs& args, const ModelFile& file);

  /// Whether a sidecar's promise is about tokens that are chosen so; a warning where it is not, or under --strict an
  /// error.
  ///   errors   argument: it is not, under --strict
  Result<void> cover(const SampleOptions& sample) const;

  const Policy& policy() const { return adaptation_.policy; }
  Result<void> attach(Session& session) const { return adaptation_.attach(session); }

 private:
  std::string sidecar_;  // empty: the policy was written
  PolicyArgs args_;
  Adaptation adaptation_;
};

}  // namespace fathom::cli
