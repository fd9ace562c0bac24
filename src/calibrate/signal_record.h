// SignalRecord: what policies would see of signals that need no head, at the layers of exits and full depth.
// Next in the flow: src/calibrate/exit_findings.h.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "src/calibrate/piece_runner.h"
#include "src/calibrate/progress.h"

namespace fathom {

/// Those of a row's states and of its attention.
inline constexpr std::array<Signal, 5> kStateSignals = {Signal::similarity, Signal::similarity_attention,
                                                        Signal::similarity_feed_forward, Signal::diversity,
                                                        Signal::attention_received};

struct SignalRecord {
  using Values = std::array<float, kStateSignals.size()>;  // NaN where one is missing
  std::vector<int32_t> layers;
  std::vector<std::vector<Values>> texts;  // [texts][places, layers]

  const Values& at(size_t text, size_t place, size_t layer) const { return texts[text][place * layers.size() + layer]; }
};

/// Runs texts at full depth under a policy that reads the signals and saves nothing.
///   layers   1 .. n_layers - 1
///   cost     a pass over the texts without a head
Result<SignalRecord> record_signals(PieceRunner& runner, std::span<const PieceText* const> texts,
                                    std::span<const int32_t> layers, Progress& progress);

}  // namespace fathom
