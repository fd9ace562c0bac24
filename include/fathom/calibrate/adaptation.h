// Adaptation: a sidecar opened for the model at hand. Fail closed: what does not fit is full depth, and says why.
// Next in the flow: engine/session.h, whose use() takes the exits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/sha256.h"
#include "fathom/core/result.h"
#include "fathom/engine/session.h"
#include "fathom/head/exit_heads.h"
#include "fathom/head/routers.h"
#include "fathom/model/model_file.h"
#include "fathom/policy/policy.h"
#include "fathom/sample/sampler.h"

namespace fathom {

/// One policy of a sidecar and what it is certified for.
struct CertifiedPolicy {
  double risk = 0;
  std::string group = {};  // whose own it is, at its own temperatures and maps; empty: it is for all groups
  Policy policy = {};
};

struct Adaptation {
  Policy policy;           // full depth where the sidecar is not used
  std::string group = {};  // whose temperatures and maps it was certified with; empty: those of all together
  FittedExits exits;       // none there
  std::vector<FittedRouter> routers = {};  // none there, and where no policy asks them
  std::string promise;                     // of the sidecar, one sentence; may be empty
  std::string refused;                     // why it is not used; empty: it is
  double temperature = 0;                  // at which tokens are drawn in what is certified; 0: greedy ones

  std::vector<std::string> groups = {};         // that the sidecar knows
  std::vector<CertifiedPolicy> certified = {};  // all of them hold together; the first risk is the promise's
  std::vector<CertifiedPolicy> of_groups = {};  // of `certified`, or lossless where that is faster: what measurement
                                                // chose for a group in place of `policy`

  /// Takes the policy of one group, or of one level of risk, in place of the one for all. A group that has none of its
  /// own keeps that for all, which holds for it too. At a level that is named, what is certified is used whether it
  /// was measured to pay or not.
  ///   group    empty: all
  ///   errors   argument: a group, or a level, that the sidecar does not know; nothing certified at the level. None
  ///            where the sidecar is refused
  FATHOM_API Result<void> choose(std::string_view group, std::optional<double> risk = {});

  /// The certified policy of a group, or of all; null: there is none.
  FATHOM_API const CertifiedPolicy* find(std::string_view group, double risk) const;

  /// Why the promise says nothing about tokens that are chosen so; empty: it does, or the policy gives full depth's
  /// tokens however they are chosen. What is certified for greedy tokens is not for drawn ones, nor the other way
  /// round.
  FATHOM_API std::string uncovered(const SampleOptions& sample) const;

  /// Gives a session what the policy needs.
  ///   errors   those of ExitHeads::make(), Routers::make() and Session::use()
  FATHOM_API Result<void> attach(Session& session) const;
};

/// Opens a sidecar for a model file that is run with this rounding. Trouble of any kind (no such file, a damaged or
/// newer one, another model, tokenizer or numeric path, a policy that this build cannot read) is no error: it ends in
/// full depth, and `refused` names it.
///   cost     that of sha256_of_file(), and reading the sidecar
FATHOM_API Adaptation adapt(const std::string& sidecar, const std::string& model_path, const ModelFile& model,
                            const Rounding& rounding, const Sha256Options& options = {});

/// Sidecars that adapt() refused since the program began, in whose place full depth runs.
FATHOM_API uint64_t refused_sidecars();

}  // namespace fathom
