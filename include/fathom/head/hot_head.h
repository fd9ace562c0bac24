// HotHead: the LM head of a few likely tokens. A row that drafts takes its guess from here and owes the whole head.
// Next in the flow: engine/layer_loop.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/core/threads.h"
#include "fathom/ops/linear.h"

namespace fathom {

/// A shortlist of `capacity` tokens, packed for the kernel of the whole head, so that their logits are its bits. The
/// list follows the text: tokens that are used stay, those that were not used for longest leave (second chance,
/// Corbato 1968). It begins with the first ids of the vocabulary.
///   memory   capacity packed rows, and four bytes for each token of the vocabulary
class FATHOM_API HotHead {
 public:
  ///   rows     [vocab, d] the head in the file's layout; must outlive this
  ///   head     the same, packed
  ///   errors   capacity: memory refused
  static Result<HotHead> make(const Tensor& rows, const Linear& head, int32_t capacity);

  /// Puts tokens on the list, or keeps them there.
  void use(std::span<const int32_t> tokens) noexcept;

  /// Begins a step: what is put on the list from here on was not listed before it.
  void begin_step() noexcept { ++step_; }
  /// Whether a token was on the list before the running step.
  bool was_listed(int32_t token) const noexcept {
    const int32_t place = place_[static_cast<size_t>(token)];
    return place >= 0 && since_[static_cast<size_t>(place)] < step_;
  }

  /// The listed rows of the head, [capacity, d]. What use() has changed is packed first.
  const Linear& packed(ThreadPool& pool) noexcept;

  /// The token of each row of packed(), in no order.
  std::span<const int32_t> tokens() const noexcept { return tokens_; }
  int32_t capacity_asked() const noexcept { return asked_; }

 private:
  void put(int32_t token) noexcept;
  void pack(ThreadPool& pool) noexcept;

  Tensor rows_;
  Linear list_;
  Buffer packed_, gathered_;
  std::vector<int32_t> tokens_;  // [capacity] by place
  std::vector<int32_t> place_;   // [vocab] -1: not listed
  std::vector<uint8_t> used_;    // [capacity] since the hand came by
  std::vector<int64_t> since_;   // [capacity] the step that put it there
  std::vector<int32_t> stale_;   // panels whose packed rows are not those of tokens_
  std::vector<uint8_t> is_stale_;
  std::vector<float> bias_;
  const float* head_bias_ = nullptr;
  size_t hand_ = 0;
  int32_t asked_ = 0;
  int64_t step_ = 1;
};

}  // namespace fathom
