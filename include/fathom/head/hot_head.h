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
  ///   n_rows   rows of activations in one run, at most
  ///   errors   capacity: memory refused
  static Result<HotHead> make(const Tensor& rows, const Linear& head, int32_t capacity, int32_t n_rows);

  /// Puts tokens on the list, or keeps them there.
  void use(std::span<const int32_t> tokens) noexcept;

  /// Logits of the listed tokens, -infinity for all others. Packs what use() has changed first.
  ///   src      [n, d] activations of the final norm
  ///   dst      [n, vocab]
  ///   cost     the packed bytes of the list; dst is written whole
  void run(ThreadPool& pool, const Activations& src, int64_t n, float* dst) noexcept;

  const Linear& weight() const noexcept { return list_; }
  int32_t capacity_asked() const noexcept { return asked_; }
  /// Listed tokens, in no order.
  std::span<const int32_t> tokens() const noexcept { return tokens_; }
  int64_t vocab() const noexcept { return rows_.rows; }

 private:
  void put(int32_t token) noexcept;
  void pack(ThreadPool& pool) noexcept;

  Tensor rows_;
  Linear list_;
  Buffer packed_, gathered_, logits_;
  std::vector<int32_t> tokens_;  // [capacity] by place
  std::vector<int32_t> place_;   // [vocab] -1: not listed
  std::vector<uint8_t> used_;    // [capacity] since the hand came by
  std::vector<int32_t> stale_;   // panels whose packed rows are not those of tokens_
  std::vector<uint8_t> is_stale_;
  std::vector<float> bias_;
  const float* head_bias_ = nullptr;
  size_t hand_ = 0;
  int32_t asked_ = 0;
};

/// The n largest of a row of logits, in no order; NaN never counts.
///   dst      room for n
///   returns  how many there are: n, or fewer where fewer are above -infinity
///   cost     one pass, and one over the maxima of blocks of 64
FATHOM_API int32_t largest(std::span<const float> logits, std::span<int32_t> dst);

}  // namespace fathom
