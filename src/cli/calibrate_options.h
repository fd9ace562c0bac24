// What verbs over pieces of text share: --data and a progress bar. Next: calibrate_options.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fathom/calibrate/pieces.h"
#include "fathom/core/result.h"

namespace fathom::cli {

/// NAME=FILE, NAME=FILE: files of one name are one group.
///   errors   argument: one that is not so, a name that check_group_name() refuses, more than kMostGroups names
Result<std::vector<GroupData>> groups_of(const std::vector<std::string>& data);

/// Warns of each group that has no piece.
void warn_of_empty(const Pieces& pieces);

/// A line on a terminal that is overwritten; in a log, one line a minute.
struct Bar {
  std::string last = {};
  double started = 0, shown = 0;  // seconds
  void end();
};
/// For on_progress, with a Bar as its context; false after an interrupt.
bool show_progress_bar(void* bar, std::string_view what, double done);

}  // namespace fathom::cli
