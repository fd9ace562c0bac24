// recheck(): is a promise kept on text that it was not made on? Next in the flow: docs/calibration.md.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "fathom/calibrate/selection.h"
#include "fathom/head/exit_heads.h"
#include "fathom/head/routers.h"
#include "fathom/model/model.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct RecheckOptions {
  double risk = 0.02;
  double temperature = 0;                      // that of the certificate: CalibrateOptions::temperature
  double confidence = 0.95;                    // of all groups together
  std::string group = {};                      // whose temperatures and maps the policy reads; empty: those of all
  std::span<const std::string> promised = {};  // groups that the promise is about; empty: all. Text of others shows how
                                               // far a shift goes, and neither breaks nor proves it
  std::span<const FittedRouter> routers = {};  // whose utility the policy reads; may be none
  int threads = 1;
  bool (*on_progress)(void* context, std::string_view what, double done) = nullptr;
  void* context = nullptr;
};

struct RecheckedGroup {
  GroupBound bound;     // what the pieces prove anew
  double lower = 0;     // the mean loss is surely above this
  bool broken = false;  // and this is above the risk
  bool proven = false;  // the risk is above the bound
  bool shift = false;   // the promise is about others
};

struct Recheck {
  std::vector<RecheckedGroup> groups;
  bool broken = false;  // in some group of the promise
  bool proven = false;  // anew, in every group of it that there is
};

/// Runs a policy on every piece, whatever its split, and compares with full depth. A promise is called broken where a
/// risk below it can be ruled out, each group at its share of 1 - confidence; text that proves nothing breaks nothing.
///   exits    what the policy's agreement is judged by; may have none
///   errors   argument: options out of range; those of runs
FATHOM_API Result<Recheck> recheck(const Model& model, const Policy& policy, const FittedExits& exits,
                                   const Pieces& pieces, const RecheckOptions& options = {});

}  // namespace fathom
