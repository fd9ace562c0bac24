// attack(): sequences that tempt a policy to leave too early, and what it then says. Next in the flow:
// docs/calibration.md, "Text that is made to deceive".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/adaptation.h"
#include "fathom/core/result.h"
#include "fathom/model/model.h"

namespace fathom {

struct AttackOptions {
  int32_t tokens = 48;                       // of a sequence, 16 to 4096
  int32_t sequences = 16;                    // of each family, 1 to 64
  int32_t candidates = 8;                    // tokens that the search tries at each place, 2 to 64
  std::vector<std::string> safeguards = {};  // each a stage, or a pipe of them; none: attack_safeguards()
  uint64_t seed = 1;
  int threads = 1;
  /// What is being done and how far it is, 0..1; returning false ends the run with an error of code cancelled.
  bool (*on_progress)(void* context, std::string_view what, double done) = nullptr;
  void* context = nullptr;
};

/// What one policy did on the sequences of one family. Every row predicts behind the true tokens before it.
struct AttackRun {
  std::string policy;  // text form
  int64_t rows = 0;
  int64_t differ = 0;         // rows whose token is not full depth's
  int64_t rows_behind = 0;    // rows that have the trap before them, or are it
  int64_t differ_behind = 0;  // of those
  double mean_depth = 0;      // layers
  double work = 1;            // share of full depth's multiply-adds

  double share() const { return rows > 0 ? double(differ) / double(rows) : 0; }
  double share_behind() const { return rows_behind > 0 ? double(differ_behind) / double(rows_behind) : 0; }
};

/// A kind of sequence that tempts, or the control.
struct AttackedFamily {
  std::string name;             // "random" is the control: the model's own writing
  std::string about;            // one line
  std::vector<AttackRun> runs;  // [policies]
};

/// One sequence, and how the policy fared on it.
struct AttackCase {
  std::string family;
  std::vector<int32_t> tokens;  // without what begins a text
  int32_t trap = 0;             // place of the token that breaks what came before
  int32_t differ = 0;           // rows whose token is not full depth's
  double mean_depth = 0;        // layers
};

/// A limit of a policy, and whether every row or sequence kept it.
struct LimitCheck {
  std::string policy;
  std::string limit;  // "budget(of_full=0.6)"
  int64_t rows = 0;   // that were looked at
  int64_t broken = 0;
};

struct Attack {
  bool lossless = false;                 // the policy cannot change a token: nothing was run
  std::vector<std::string> policies;     // as given, then with each safeguard
  std::vector<AttackedFamily> families;  // the control first, the search last
  std::vector<AttackCase> worst;         // of the policy as given: those that differ somewhere, most first
  std::vector<LimitCheck> limits;

  bool limits_hold() const {
    for (const LimitCheck& check : limits) {
      if (check.broken > 0) return false;
    }
    return true;
  }
  /// Share of rows that differ under the search over that of the control; 0 where the control has none.
  double search_over_random() const {
    if (families.empty() || families.front().runs.front().differ == 0) return 0;
    return families.back().runs.front().share() / families.front().runs.front().share();
  }
};

/// What is added to a policy, one after the other, where nothing else is asked for.
FATHOM_API std::vector<std::string> attack_safeguards(int32_t n_layers);

/// Runs a policy on sequences that are made to deceive it, and on as many that are not, and compares with full depth
/// row by row. A certificate need not hold here: its claim is about the text that it was made on. Limits always hold.
///   attacked  a policy of built-in stages, with what was fitted for it
///   errors    argument: options out of range, a policy or safeguard that cannot be read; unsupported: a model without
///   a
///            vocabulary; format: logits that are not finite; cancelled; those of Session::make()
///   cost     a sequence's tokens * (policies + 1) steps for each family, and 2 * (candidates + 1) for the search; each
///            step has one row of every sequence
FATHOM_API Result<Attack> attack(const Model& model, const Adaptation& attacked, const AttackOptions& options = {});

}  // namespace fathom
