// The parts of the calibration report, one function each, in the page's order. Next: sections_settings.cc.
#pragma once

#include <string>

#include "src/calibrate/page.h"
#include "src/calibrate/report_data.h"

namespace fathom::report {

// sections_settings.cc: what was tried, what it saves, what does not pay
Section frontier_section(const Report& report);
Section speed_section(const Report& report);
Section ceilings_section(const Report& report);
Section nogo_section(const Report& report);

// sections_certified.cc
/// What holds at each level of risk, for all groups and for single ones; empty where nothing more than one was tried.
std::string certified_table(const Report& report);
/// How often the choice breaks its promise on losses drawn anew; empty where that was not tried.
std::string drawn_again(const Report& report);

// sections_depths.cc: where the savings come from
Section signals_section(const Report& report);
Section exit_depth_section(const Report& report);
Section layer_utility_section(const Report& report);
Section head_utility_section(const Report& report);

// sections_truth.cc: whether what is predicted holds
Section reliability_section(const Report& report);
Section continuations_section(const Report& report);

// sections_passages.cc
Section passages_section(const Report& report);

// sections_origin.cc: whose numbers they are, and how to have them again
std::string verdict(const Report& report);
Section groups_section(const Report& report);
Section words_section(const Report& report);
Section reproduce_section(const Report& report);

/// "exit 0.97": short, for charts.
std::string short_name(const Candidate& candidate);
/// Mechanisms in the order in which they appear; the index is their style.
std::vector<std::string> mechanisms_of(const Report& report);
int style_of(const std::vector<std::string>& names, const std::string& name);

}  // namespace fathom::report
