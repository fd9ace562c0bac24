// A task's sidecar: heads, the certified policy, what both are bound to, and what was found. Next:
// classify/classifier.h.
#pragma once

#include <cstdint>
#include <string>

#include "fathom/calibrate/fingerprint.h"
#include "fathom/classify/label_heads.h"
#include "fathom/classify/train.h"
#include "fathom/core/result.h"
#include "fathom/policy/policy.h"

namespace fathom {

/// A task as it is run.
struct TaskFile {
  FittedLabels labels;
  Policy policy;             // certified, where that was faster when it was measured; else full depth
  Policy certified;          // the same whatever was measured; full depth where nothing is certified
  int32_t max_tokens = 0;    // that texts were cut at
  std::string promise = {};  // one sentence; empty: none
  std::string warning = {};  // why full depth runs in place of the policy; empty: it does not
};

/// How a task came to be, for its report.
struct TaskOrigin {
  std::string model_name = {}, data = {}, command = {}, library = {}, machine = {};
  uint64_t seed = 1;
};

/// What was found, as JSON for task_report_html().
FATHOM_API std::string task_report_json(const LabelledSet& set, const TrainedTask& task, const TrainOptions& options,
                                        const TaskOrigin& origin);

/// One HTML page of it that needs nothing else.
///   errors   format: no JSON of this form, by the field's name
FATHOM_API Result<std::string> task_report_html(std::string_view report_json);

/// Writes the sidecar; `path` holds either what it held before or all of the new file.
///   report   of task_report_json()
///   errors   those of write_sidecar(), and of read_manifest() where what was found could not be read again
FATHOM_API Result<void> write_task(const std::string& path, const TrainedTask& task, const TrainOptions& options,
                                   const SidecarBinding& model, int32_t max_tokens, const TaskOrigin& origin,
                                   std::string_view report);

/// Opens a task for the model at hand. Heads that were fitted to another model, tokenizer or shape are an error, as
/// nothing could stand in for them; another numeric path alone is full depth, and a warning.
///   errors   those of SidecarFile::open(); argument: made for another model, or no task; format: damaged
FATHOM_API Result<TaskFile> open_task(const std::string& path, const std::string& model_path, const ModelFile& model,
                                      const Rounding& rounding, const Sha256Options& options = {});

}  // namespace fathom
