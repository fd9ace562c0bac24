// ScreenedHead: logits for rows whose use is known: bounds from four bits of each weight rule tokens out, and only
// panels that hold one of the others are multiplied in full. Every choice stays what it would be on all logits. Next in
// the flow: sample/sampler.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "fathom/core/result.h"
#include "fathom/ops/linear.h"
#include "fathom/sample/sampler.h"

namespace fathom {

/// What will be done with a row of logits: sample(row, *options, sequence, position, history), and nothing else.
struct LogitUse {
  const SampleOptions* options = nullptr;  // null: all logits are wanted
  int64_t sequence = 0;
  int64_t position = 0;
  std::span<const int32_t> history = {};
};

/// Why a row read the whole head.
enum class FullHead : uint8_t {
  none,         ///< it did not
  all_logits,   ///< LogitUse::options is null
  top_p,        ///< top_p without top_k: the kept set hangs on every logit
  temperature,  ///< so high that noise times it leaves the range of bounds
  not_finite,   ///< activations with a NaN or an infinity
  survivors,    ///< more than a quarter of the panels could not be ruled out
};

/// What became of a row.
struct ScreenReport {
  int64_t survivors = 0;  // tokens that bounds could not rule out; all of them after a whole head
  int64_t panels = 0;     // of 16 tokens, multiplied in full
  FullHead full = FullHead::none;
};

class FATHOM_API ScreenedHead {
 public:
  /// Memory for steps of up to max_rows rows over a packed head, which must outlive this.
  ///   errors   argument: max_rows below 1; capacity: memory refused
  static Result<ScreenedHead> make(const HeadLinear& head, int64_t max_rows);

  ScreenedHead(ScreenedHead&&) noexcept;
  ScreenedHead& operator=(ScreenedHead&&) noexcept;
  ~ScreenedHead();

  /// Logits of n rows in which every token that its use could choose has the bits of the whole product, and every other
  /// token has these bits or -infinity: sample() on the row chooses what it would on all logits.
  ///   src       [n, cols] quantised for the head's product
  ///   uses      [n]
  ///   dst       [n, dst_stride]
  ///   reports   [n]
  ///   cost      reads 4.5 of 8.5 (Q8_0) or 4.6 of 6.6 (Q6_K) bits of each weight once for all rows, and the panels
  ///             that are left once for each row; allocates only for more adjusted tokens than ever before
  void run(ThreadPool& pool, const QuantRows& src, std::span<const LogitUse> uses, float* dst, int64_t dst_stride,
           std::span<ScreenReport> reports) noexcept;

  struct Impl;

 private:
  explicit ScreenedHead(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
