// Adaptation: a sidecar opened for the model at hand. Fail closed: what does not fit is full depth, and says why.
// Next in the flow: engine/session.h, whose use() takes the exits.
#pragma once

#include <string>

#include "fathom/calibrate/sha256.h"
#include "fathom/core/result.h"
#include "fathom/engine/session.h"
#include "fathom/head/exit_heads.h"
#include "fathom/model/model_file.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct Adaptation {
  Policy policy;        // full depth where the sidecar is not used
  FittedExits exits;    // none there
  std::string promise;  // of the sidecar, one sentence; may be empty
  std::string refused;  // why it is not used; empty: it is

  /// Gives a session what the policy needs.
  ///   errors   those of ExitHeads::make() and Session::use()
  FATHOM_API Result<void> attach(Session& session, std::string_view group = {}) const;
};

/// Opens a sidecar for a model file that is run with these numerics. Trouble of any kind (no such file, a damaged or
/// newer one, another model, tokenizer or numeric path, a policy that this build cannot read) is no error: it ends in
/// full depth, and `refused` names it.
///   cost     that of sha256_of_file(), and reading the sidecar
FATHOM_API Adaptation adapt(const std::string& sidecar, const std::string& model_path, const ModelFile& model,
                            Numerics numerics, const Sha256Options& options = {});

}  // namespace fathom
