// StateHistory: the states that the last rows of each sequence had at the boundaries where a stage reads diversity.
// Next in the flow: engine/boundary.h.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "fathom/core/result.h"
#include "fathom/core/tensor.h"
#include "fathom/ops/kernel_table.h"
#include "fathom/policy/policy.h"

namespace fathom {

/// Nothing is kept, and nothing allocated, of boundaries at which no stage reads diversity.
class StateHistory {
 public:
  /// Rows that are kept of a sequence: those looked back on, and more than drafts take back at once. Behind a longer
  /// rollback what is gone is not known, and diversity is missing until kRecentRows rows have run.
  static constexpr int32_t kKept = 128;
  static_assert(kKept >= kRecentRows + kMaxOwed);

  /// One boundary of one row.
  struct Place {
    int32_t sequence = 0, boundary = 0, position = 0;
  };

  StateHistory(int32_t n_layers, int32_t n_sequences, int64_t d_model)
      : n_layers_(n_layers), n_sequences_(n_sequences), d_model_(d_model) {}

  /// Says where the coming step keeps states: at the boundaries where `policy` reads diversity of rows of any kind.
  void begin(PolicyRef policy);
  bool keeps(int32_t boundary) const { return !kept_.empty() && kept_[static_cast<size_t>(boundary)]; }
  bool keeps_any() const { return !kept_.empty(); }
  /// Makes room for a sequence at those boundaries.
  ///   errors   capacity: memory refused
  Result<void> reserve(int32_t sequence);

  /// A row came to a boundary with this state [d_model], or had left before: null. In the order of positions.
  void put(const Place& at, const float* state);

  /// 1 - the largest cosine of a state with those of the rows before, clipped at 0; NaN where one of them is not known
  /// or none came here.
  ///   states   [*, d_model]; `row` of them is the one in question
  ///   cost     3 * d_model * min(position, kRecentRows) multiply-adds
  float diversity(const KernelTable& kernels, const Place& at, const float* states, int32_t row) const;

  /// Forgets a sequence's rows from `length` on.
  void truncate(int32_t sequence, int32_t length);

 private:
  struct Ring {
    Buffer states;                         // [kKept, d_model], by position modulo kKept
    std::array<int32_t, kKept> positions;  // -1: none
    std::array<bool, kKept> came{};        // as far as here
  };
  Ring& ring(int32_t sequence, int32_t boundary) const {
    return *rings_[static_cast<size_t>(sequence) * static_cast<size_t>(n_layers_) + static_cast<size_t>(boundary)];
  }

  int32_t n_layers_, n_sequences_;
  int64_t d_model_;
  std::vector<bool> kept_;                    // [n_layers] boundaries; empty: none
  std::vector<std::unique_ptr<Ring>> rings_;  // [sequences, n_layers]; empty until one is kept
};

}  // namespace fathom
