// StateHistory: rings of states, one for each sequence and boundary that is kept.
#include "fathom/engine/state_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace fathom {

void StateHistory::begin(PolicyRef policy) {
  kept_.clear();
  if (policy.table == nullptr) return;
  for (int32_t boundary = 1; boundary < n_layers_; ++boundary) {
    SignalSet reads;
    for (const RowKind kind : {RowKind::prompt, RowKind::generated}) {
      reads = reads | policy.table->reads(policy.self, boundary, n_layers_, kind);
    }
    if (!reads.has(Signal::diversity)) continue;
    kept_.resize(static_cast<size_t>(n_layers_));
    kept_[static_cast<size_t>(boundary)] = true;
  }
}

Result<void> StateHistory::reserve(int32_t sequence) {
  if (!keeps_any()) return {};
  rings_.resize(static_cast<size_t>(n_sequences_) * static_cast<size_t>(n_layers_));
  for (int32_t boundary = 1; boundary < n_layers_; ++boundary) {
    const size_t i = static_cast<size_t>(sequence * n_layers_ + boundary);
    if (!keeps(boundary) || rings_[i] != nullptr) continue;
    const size_t bytes = static_cast<size_t>(kKept * d_model_) * sizeof(float);
    auto made = std::make_unique<Ring>();
    made->states = Buffer(bytes, Pages::small);
    made->positions.fill(-1);
    if (made->states.data() == nullptr) {
      return Error{ErrorCode::capacity,
                   fmt::format("{} bytes for the states that diversity is measured from: the system "
                               "refused; lower SessionOptions::max_sequences or read it at fewer "
                               "layers",
                               bytes)};
    }
    rings_[i] = std::move(made);
  }
  return {};
}

void StateHistory::put(const Place& at, const float* state) {
  Ring& to = ring(at.sequence, at.boundary);
  const auto slot = static_cast<size_t>(at.position % kKept);
  to.positions[slot] = at.position;
  to.came[slot] = state != nullptr;
  if (state != nullptr) std::copy_n(state, d_model_, to.states.as<float>() + static_cast<int64_t>(slot) * d_model_);
}

float StateHistory::diversity(const KernelTable& kernels, const Place& at, const float* states, int32_t row) const {
  constexpr float kMissing = std::numeric_limits<float>::quiet_NaN(), kNone = -2;
  const Ring& of = ring(at.sequence, at.boundary);
  const int32_t n = std::min(at.position, kRecentRows), first = at.position - n;
  for (int32_t p = first; p < at.position; ++p) {
    if (of.positions[static_cast<size_t>(p % kKept)] != p) return kMissing;
  }
  std::array<int32_t, kRecentRows> index;
  index.fill(row);
  float nearest = kNone;
  for (int32_t p = first; p < at.position;) {  // stretches of the ring: at most two
    const int32_t slot = p % kKept, stretch = std::min(at.position - p, kKept - slot);
    float cosines[kRecentRows];
    kernels.similarity.run(SimilarityArgs{.a = states,
                                          .index = index.data(),
                                          .b = of.states.as<float>() + slot * d_model_,
                                          .cols = d_model_,
                                          .dst = cosines},
                           0, stretch);
    for (int32_t i = 0; i < stretch; ++i) {
      if (of.came[static_cast<size_t>(slot + i)]) nearest = std::max(nearest, cosines[i]);
    }
    p += stretch;
  }
  return nearest == kNone ? kMissing : std::max(0.0f, 1 - nearest);
}

void StateHistory::truncate(int32_t sequence, int32_t length) {
  for (int32_t boundary = 1; boundary < n_layers_ && !rings_.empty(); ++boundary) {
    Ring* of = rings_[static_cast<size_t>(sequence * n_layers_ + boundary)].get();
    if (of == nullptr) continue;
    for (int32_t& position : of->positions) position = position >= length ? -1 : position;
  }
}

}  // namespace fathom
