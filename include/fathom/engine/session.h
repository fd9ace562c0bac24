// Session: the running state of one or more sequences over a Model; step() is the one door to the layer loop.
// Next in the flow: engine/layer_loop.h, then the verbs: engine/generate.h, engine/perplexity.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "fathom/cache/kv_cache.h"
#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/engine/layer_observer.h"
#include "fathom/engine/pass_costs.h"
#include "fathom/head/exit_heads.h"
#include "fathom/head/head_way.h"
#include "fathom/head/routers.h"
#include "fathom/model/model.h"
#include "fathom/policy/policy.h"
#include "fathom/sample/sampler.h"
#include "fathom/trace/trace.h"

namespace fathom {

class LabelHeads;

struct SessionOptions {
  int32_t max_tokens = 4096;  // positions of a sequence; at most what the model was made for
  int32_t max_sequences = 1;
  int32_t max_rows = 256;       // rows of one step: prompts are cut into chunks of this
  int32_t max_logit_rows = 16;  // rows of one step whose logits are wanted
  DType kv = DType::f16;        // F16, BF16 or F32
  int threads = 1;              // 1 starts none
};

/// One token entering a step. Rows of a sequence come in the order of their positions, each position once.
struct Row {
  int32_t token = 0;
  int32_t sequence = 0;
  int32_t position = 0;  // the next free one of its sequence
  RowKind kind = RowKind::prompt;
  bool logits = false;  // predict the token after this one
  bool draft = false;   // the token is a guess, which the trace says
};

/// What became of a row.
struct RowResult {
  int32_t sequence = 0;
  int32_t position = 0;
  float depth = 0;       // layers run; half a layer counts half
  double macs = 0;       // multiply-adds done for it: layers, checks, fills, head
  double step_macs = 0;  // of them, in this step
  double full_macs = 0;  // the same at full depth
  int32_t logits = -1;   // row of StepResult::logits, or -1
  HeadWay head = HeadWay::none;
  bool removed = false;  // dropped, or joined to another row of its text
  bool owes = false;     // layers, which a later step or settle() runs
  bool settled = false;  // it entered in an earlier step, and ran layers that it owed

  double work() const { return macs / full_macs; }
};

/// Valid until the next step.
struct StepResult {
  std::span<const RowResult> rows;     // [n] in the caller's order
  std::span<const RowResult> settled;  // rows of earlier steps that ran layers they owed, by sequence and position
  View<const float, 2> logits;         // [rows with logits, vocab], or [.., tokens] where a shortlist answered
  std::span<const int32_t> tokens;     // of the shortlist's logits; empty: all, by id
};

class FATHOM_API Session {
 public:
  /// Buffers, cache and threads for running a model.
  ///   errors   argument, capacity: which option, its value and its range
  static Result<Session> make(const Model& model, const SessionOptions& options = {});

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Runs rows of any sequences through the layers, each to the depth its policy decides.
  ///   rows     at most max_rows; prompt and generated rows of several sequences may stand side by side
  ///   policy   nothing given: full depth
  ///            Under kv(settle_later) and kv(verify) prompt rows run at full depth. Layers that rows of these
  ///            sequences owe are run beside theirs, as deep as they go; under kv(verify) settle() runs them and no
  ///            step does.
  ///   errors   argument: a token or sequence out of range, a position that is not the next, a
  ///            generated row beside others of its sequence under a policy that reads what the row before did;
  ///            capacity: too many rows, a sequence at its limit, more rows that owe than kv(..., max_rows); the
  ///            session is unchanged
  ///   cost     one pass over the weights that some row runs
  Result<StepResult> step(std::span<const Row> rows, PolicyRef policy = {}, Trace* trace = nullptr);

  /// Runs all layers that rows owe, whatever their sequence, and new rows beside them at full depth. Rows that settle
  /// predict: StepResult::settled says what full depth has to say after each.
  ///   rows     as for step(), or none
  ///   policy   what it reads of a sequence's past is kept for it; it decides nothing here
  ///   errors   those of step(); the session is unchanged, and what was owed is owed still
  ///   cost     one pass over the weights above the shallowest row
  ///   only     sequences whose debts are paid; none: all of them
  Result<StepResult> settle(std::span<const Row> rows = {}, PolicyRef policy = {}, Trace* trace = nullptr,
                            std::span<const int32_t> only = {});

  /// Whether the shortlist of defer_head held a token before the last step: a guess from it would then have been right.
  bool was_listed(int32_t token) const noexcept;

  /// Rows that leave early answer by what was fitted for it from here on; null: by the final norm and the head as they
  /// are.
  ///   group    of exits->groups(); empty: what was fitted for all together
  ///   errors   argument: no such group; heads made for another model
  Result<void> use(std::shared_ptr<const ExitHeads> exits, std::string_view group = {});

  /// Rows answer by what was fitted for this group from here on; empty: for all together.
  ///   errors   argument: no such group; exits were never given to use()
  Result<void> use_group(std::string_view group);
  /// The group in use; empty: all together.
  std::string_view group() const noexcept;

  /// Policies that read `utility` have it from these from here on; null: they are refused.
  ///   errors   argument: routers made for another model
  Result<void> use_routers(std::shared_ptr<const Routers> routers);

  /// Exit checks of an encoder ask these label heads from here on, one answer for each text; null: they are refused.
  ///   errors   argument: the model predicts tokens, or heads made for another
  Result<void> use_labels(std::shared_ptr<const LabelHeads> labels);

  /// Sees the states of the coming steps; null: nobody does.
  void observe(LayerObserver* observer) noexcept;

  /// What passes under a policy cost by rows, timed on the model's own weights when it is asked first.
  ///   cost     the first time about one pass; what the last step returned is overwritten
  PassCosts pass_costs(const Policy& policy);

  /// Rows of a sequence that owe layers: its last ones.
  int32_t owed(int32_t sequence = 0) const noexcept;

  /// Says what a sequence's logits are for: sample() with these options, under this number of the caller's, and nothing
  /// else. Under a policy with screen_head, logits that cannot be chosen are then -infinity. Null: all are wanted.
  ///   options   must outlive the sequence's steps, or be taken back
  void expect(int32_t sequence, const SampleOptions* options, int64_t number = 0) noexcept;

  /// The tokens a sequence holds, by position; valid until the next step or truncate.
  std::span<const int32_t> tokens(int32_t sequence = 0) const noexcept;
  int32_t length(int32_t sequence = 0) const noexcept { return static_cast<int32_t>(tokens(sequence).size()); }

  /// Forgets a sequence's positions from `length` on, what they owed and what policies knew of them; 0 makes it new.
  ///   errors   argument: no such sequence, or length beyond what it holds
  Result<void> truncate(int32_t sequence, int32_t length);

  const Model& model() const noexcept;
  const SessionOptions& options() const noexcept;
  const KvCache& cache() const noexcept;
  ThreadPool& pool() noexcept;
  /// The kernels in use, one for each operation.
  const KernelTable& kernels() const noexcept;

  struct Impl;

 private:
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
