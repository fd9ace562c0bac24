// TaskStates: what every text of a task is at every depth, from one pass at full depth. Next: src/classify/train.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "fathom/classify/labelled.h"
#include "fathom/classify/train.h"
#include "src/engine/text_steps.h"

namespace fathom {

struct TaskStates {
  int32_t n_layers = 0;
  size_t d = 0;
  std::vector<TextIds> ids;                  // [texts]
  std::vector<std::vector<float>> by_layer;  // [n_layers][texts, d]  mean over a text's rows

  std::span<const float> of(int32_t layer, size_t text) const {
    return std::span(by_layer[static_cast<size_t>(layer - 1)]).subspan(text * d, d);
  }

  /// Runs all texts.
  ///   errors   those of TextSteps; cancelled
  static Result<TaskStates> collect(TextSteps& steps, const LabelledSet& set, const TrainOptions& options);
};

}  // namespace fathom
