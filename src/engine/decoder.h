// Decoder: passes over the texts of a session, each of which makes one token or more of each text certain.
//
//   choose -> draft (rows under the policy's savings) -> confirm (what they owe, or the next row beside guesses) ->
//   write
//
// Without kv(verify) there is nothing to draft, and a pass is a step. Next in the flow: decoder.cc.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fathom/engine/draft.h"
#include "fathom/engine/session.h"
#include "src/engine/writer.h"

namespace fathom {

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Sums of what rows cost, over the rows that became part of the text at full depth.
struct Ledger {
  double macs = 0, full_macs = 0, depth = 0;
  int64_t rows = 0;
  void ran(const RowResult& row) { macs += row.step_macs; }
  void stands(const RowResult& row) {
    full_macs += row.full_macs;
    depth += row.depth;
    ++rows;
  }
  double work() const { return rows > 0 ? macs / full_macs : 1; }
};

/// One text in one sequence of the session.
struct Lane {
  Lane(const Tokenizer& tokenizer, const GenerateOptions& o) : options(o), writer(tokenizer, o) {}

  const GenerateOptions& options;
  int32_t sequence = 0;
  std::span<const int32_t> prompt;  // not run yet
  int32_t token = -1;               // certain, and not run yet
  Writer writer;
  DraftSource* source = nullptr;
  DraftChooser* chooser = nullptr;

  Ledger prompt_ledger, ledger;
  float prompt_depth = 0;
  int32_t passes = 0, decoded = 0;     // passes that wrote, and what they wrote
  int64_t proposed = 0, accepted = 0;  // guesses put to the test, and those that were right

  // Of the running pass:
  DraftOffer offer;
  DraftChoice choice;
  std::vector<int32_t> guesses;  // of the source
  std::vector<int32_t> own;      // guesses of rows under savings
  std::vector<int32_t> fresh;    // tokens that became certain
  size_t n_certain = 0;          // of them, those of rows under savings that saved nothing
  size_t entering = 0;           // rows of the prompt
  bool drafted_all = false;
  double own_seconds = 0;

  bool writes() const { return prompt.empty() && !writer.ended(); }
  /// Commits a token; false when it ends the text.
  bool take(const Chosen& chosen);
  void count_pass();
  /// Rows of prompt and text that full depth alone would have run by now: all tokens but one chosen last.
  int32_t n_run() const;
  Generation result() &&;
  void begin_pass() {
    offer = {};
    choice = {};
    guesses.clear();
    own.clear();
    fresh.clear();
    n_certain = entering = 0;
    drafted_all = false;
    own_seconds = 0;
  }
};

/// The draft source and the chooser of one text: the caller's, or those that the policy's settings ask for.
class Drafting {
 public:
  explicit Drafting(const GenerateOptions& options);
  void begin(Lane& lane, std::span<const int32_t> held, std::span<const int32_t> prompt) const;

 private:
  std::unique_ptr<DraftSource> own_source_;
  std::unique_ptr<DraftChooser> own_chooser_;
  DraftSource* source_ = nullptr;
  DraftChooser* chooser_ = nullptr;
};

/// While it lives, the session knows what a lane's logits are for.
class Expectation {
 public:
  Expectation(Session& session, const Lane& lane);
  ~Expectation();
  Expectation(const Expectation&) = delete;
  Expectation& operator=(const Expectation&) = delete;

 private:
  Session& session_;
  int32_t sequence_;
};

/// Whether a session's steps have room for so many texts at once.
///   errors   argument: which option, and what it has to be
Result<void> check_rows(const Session& session, const Policy& policy, int32_t lanes);

class Decoder {
 public:
  /// Lanes may come and go between passes; all share the policy and the trace.
  Decoder(Session& session, const Policy& policy, Trace* trace);

  /// One pass over all lanes that have not ended. Prompts advance by as many rows as find room.
  ///   errors   those of Session::step; format: logits that hold no number
  Result<void> pass(std::span<Lane* const> lanes);

  bool verifies() const { return settings_.kv == KvMode::verify; }

 private:
  void choose(std::span<Lane* const> lanes);
  void choose(Lane& lane);
  Result<void> draft(std::span<Lane* const> lanes);
  Result<void> draft_row();
  Result<void> confirm(std::span<Lane* const> lanes);
  Result<void> read(Lane& lane, const StepResult& result);
  int32_t choice_after(const Lane& lane, const StepResult& result, const RowResult& row) const;
  void gather(std::span<Lane* const> lanes, int32_t owed);
  void learn(Lane& lane, int32_t rows, double seconds);

  Session& session_;
  const Policy& policy_;
  Settings settings_;
  bool saves_;
  std::optional<PassCosts> costs_;  // once a text is written
  Trace* trace_;
  std::vector<Row> rows_;
  std::vector<const RowResult*> of_lane_;
  std::vector<TraceCommit> commits_;
  std::vector<TraceRollback> rollbacks_;
  std::vector<TraceChoice> choices_;
  std::vector<Lane*> drafting_;
  std::vector<int32_t> of_lanes_;  // their sequences
};

}  // namespace fathom
