// LimitWatch: whether rows keep a policy's limits, judged from what they did and not by the stages that said so.
// Next in the flow: src/calibrate/attack.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "fathom/calibrate/attack.h"
#include "fathom/engine/session.h"
#include "src/policy/stage_table.h"

namespace fathom {

/// What holds, whatever the text:
///   min_depth, full_depth_first   where no max_depth or budget to the right caps them
///   max_depth, budget             where no limit to the right restores; a budget's row that leaves after its first
///                                 layer may overspend, as docs/policies.md says
///   kv(settle_later)              no sequence has more rows that owe
class LimitWatch {
 public:
  ///   errors   argument: a policy with stages that are not built in
  static Result<LimitWatch> make(const Policy& policy, int32_t n_layers, int32_t sequences);

  /// All sequences are new.
  void begin();
  /// A row that entered, and how many rows of its sequence owe layers now.
  void see(const RowResult& row, int32_t owed);
  /// A row of an earlier step ran layers that it owed.
  void settle(const RowResult& row) { spent_[size_t(row.sequence)].macs += row.step_macs; }

  const std::vector<LimitCheck>& checks() const { return checks_; }

 private:
  struct Spent {
    double macs = 0, full_macs = 0;
    int32_t rows = 0;
  };
  bool kept(const policy_text::AnyStage& stage, const RowResult& row, int32_t owed) const;

  int32_t n_layers_ = 0;
  std::vector<policy_text::AnyStage> watched_;  // [checks]
  std::vector<LimitCheck> checks_;
  std::vector<Spent> spent_;  // [sequences] by the rows before
};

}  // namespace fathom
