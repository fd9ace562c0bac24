// Labelled texts: JSONL lines with their labels, divided so that nothing is chosen or reported on text it has seen.
// Next in the flow: classify/train.h.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fathom/core/result.h"

namespace fathom {

/// What a labelled text is for.
enum class TaskSplit : uint8_t {
  train,   ///< the heads' weights
  tune,    ///< penalties, temperatures, maps, and the order of settings
  choose,  ///< the certificate
  report,  ///< what is said of the result
};
inline constexpr size_t kTaskSplits = 4;
inline constexpr int32_t kMostLabels = 4096;
inline constexpr std::string_view kNoGroup = "(no group)";  // of lines without one, where others have one

struct LabelledText {
  std::string text;
  std::string id = {};               // as the line says; empty: it does not
  int32_t group = 0;                 // index into LabelledSet::groups
  int64_t document = 0;              // that it is of: texts of one are in one split, and a certificate counts one
  std::vector<int32_t> labels = {};  // rising indices into LabelledSet::labels
  int64_t line = 0;                  // from 1
  TaskSplit split = TaskSplit::train;
};

struct LabelledSet {
  std::vector<std::string> labels;  // by name
  std::vector<std::string> groups;  // by name; one without a name where no line has one
  bool several = false;             // some line has a list
  std::vector<LabelledText> texts;  // in the file's order
  int64_t n_duplicates = 0;         // equal, but for whitespace, to a text before them, with the same labels
  int64_t n_contradictions = 0;     // the same with other labels; none of such texts is kept
  int64_t n_rare = 0;               // left out with LabelledOptions::drop_rare
  int64_t n_bad = 0;                // lines left out with LabelledOptions::skip_bad
  std::string first_bad = {};       // what was wrong with the first of them
};

struct LabelledOptions {
  std::array<double, kTaskSplits> shares = {0.4, 0.15, 0.3, 0.15};  // of the texts, by TaskSplit; together 1
  int64_t fewest = 8;                                               // texts of each label that is learnt
  bool drop_rare = false;  // leave out texts of rarer labels, rather than refuse the file
  bool skip_bad = false;   // leave out lines that are none, rather than refuse the file
  uint64_t seed = 1;
};

/// Reads lines {"text", "label"}, or "labels" with a list of them, and maybe "id", "group" and "document", a name that
/// texts depending on one another share. A text's split is a hash of its document, or without one of its words, and the
/// seed, so that adding lines moves no text.
///   name     what errors call the file
///   errors   format: a line that is no such object (its number is named), a label on fewer texts than `fewest`, one
///            label only, more labels than kMostLabels or groups than kMostGroups, a split without text; argument:
///            shares that are not above 0 or do not sum to 1
///   memory   the texts
FATHOM_API Result<LabelledSet> read_labelled(std::string_view jsonl, std::string_view name,
                                             const LabelledOptions& options = {});

}  // namespace fathom
