// Fitting a task's heads: one at every depth, its penalty, temperature and map chosen on text it has not seen.
// Next: src/classify/train.cc.
#pragma once

#include <cstdint>
#include <vector>

#include "fathom/classify/label_heads.h"
#include "src/classify/task_states.h"

namespace fathom {

/// The texts of a split, as indices.
std::vector<size_t> texts_of(const LabelledSet& set, TaskSplit split);

/// Heads of all depths, 0 included where words are worth counting, without their maps.
///   errors   argument: a split has too few texts; those of fit_labels()
Result<FittedLabels> fit_heads(const LabelledSet& set, const TaskStates& states, ThreadPool& pool);

/// Maps from what heads below the last say to how likely that is what the last says.
///   said     of ask_heads()
///   errors   those of fit_agreement()
Result<void> fit_maps(const LabelledSet& set, const std::vector<std::vector<LabelAnswer>>& said, FittedLabels& fitted);

/// What every head says of every text.
///   returns  [heads][texts]
std::vector<std::vector<LabelAnswer>> ask_heads(const LabelHeads& heads, const TaskStates& states, ThreadPool& pool);

}  // namespace fathom
