// train_task: heads at every depth of an encoder, and exits with a certified label. Next: classify/classifier.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/selection.h"
#include "fathom/classify/label_heads.h"
#include "fathom/classify/labelled.h"
#include "fathom/core/result.h"
#include "fathom/engine/embed.h"
#include "fathom/policy/policy.h"

namespace fathom {

struct TrainOptions {
  double risk = 0.02;        // share of texts whose label may differ from full depth's
  double confidence = 0.95;  // that it is no more, in every named group
  bool by_label = false;     // the promise is kept for the texts of each label, as full depth says it, not only for all
  EncoderOptions encoder = {};
  bool (*on_progress)(void* context, std::string_view what, double done) = nullptr;  // false: stop
  void* context = nullptr;
};

/// Texts of a split, of one group or one label.
struct TaskCount {
  std::string name;
  int64_t n = 0;
  int64_t differing = 0;                 // labels that are not full depth's
  int64_t right = 0, right_at_full = 0;  // labels that are those given with the texts
  double mean_depth = 0;
};

/// How a head does by itself, on the texts of TaskSplit::report.
struct DepthQuality {
  int32_t layer = 0;
  double accuracy = 0;   // labels that are those given with the texts
  double agreement = 0;  // labels that are full depth's
  double left = 0;       // share of texts that leave here under the policy
  float temperature = 1;
};

/// One setting of the order that was tested.
struct TaskSetting {
  double agreement_at_least = 1;
  double mean_depth = 0, differing = 0;  // on the texts of TaskSplit::choose
  double report_depth = 0, report_differing = 0, report_accuracy = 0;
};

/// A text that ran all layers, and what the heads before said.
struct DeepText {
  std::string text, id;
  std::vector<std::string> said;  // [depths] the label of each
  std::vector<double> agreement;  // [depths] how likely it was full depth's
};

struct TrainedTask {
  FittedLabels labels;
  Policy policy;  // full depth where nothing is certified
  bool certified = false;
  Choice choice;                                // of the fixed sequence
  std::vector<std::string> promised;            // names of what the bounds are of: groups, or labels
  std::vector<TaskSetting> settings;            // from the safest to the boldest
  std::vector<DepthQuality> depths;             // by layer, full depth last
  std::vector<TaskCount> by_group, by_label;    // on TaskSplit::report
  TaskCount all;                                // on TaskSplit::report
  double words_accuracy = 0;                    // of depth 0 alone, 0 where no head reads words
  std::vector<DeepText> deep;                   // some
  double full_seconds = 0, policy_seconds = 0;  // of the texts of TaskSplit::report, or some of them, on this machine;
                                                // 0 where nothing is certified

  /// Whether the policy was enough faster here to be used by default.
  bool pays() const { return certified && policy_seconds < 0.98 * full_seconds; }
  std::string promise;  // one sentence
};

/// Runs every text once at full depth, fits heads, penalties, temperatures and maps on two splits, takes the boldest
/// threshold whose risk is certified on the third, and says on the fourth what came of it. A text's answer at a depth
/// depends on nothing but the text, so what is certified on states that were kept is what runs.
///   errors   those of Encoder::make() and fit_labels(); argument: a risk or confidence outside (0, 1), splits without
///            texts; cancelled: on_progress said so
///   memory   4 (d n_layers + labels (n_layers + 1)) bytes a text, and 8 d a text of TaskSplit::train for each thread
///   cost     one pass of the model over the texts, and about 100 of linear algebra over their states
FATHOM_API Result<TrainedTask> train_task(const Model& model, const LabelledSet& set, const TrainOptions& options = {});

}  // namespace fathom
