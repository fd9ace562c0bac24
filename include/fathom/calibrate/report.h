// report_html: what a calibration found, as one page for people. The numbers are those of the sidecar's section
// "report"; docs/schema/report.json names them. Next: src/calibrate/report.cc.
#pragma once

#include <string>
#include <string_view>

#include "fathom/core/macros.h"
#include "fathom/core/result.h"

namespace fathom {

/// The first bytes of every page, by which an earlier one is known again.
inline constexpr std::string_view kReportPageStart = "<!doctype html>\n<!-- fathom report -->\n";

/// One HTML page that needs nothing else: no network, no script to be read, light and dark, wide, narrow and on paper.
///   report_json  docs/schema/report.json; what is missing or null was not measured, and the page says so
///   errors       format: no JSON, nested too deep, or a field that is missing, of a wrong type or out of range, by its
///                name; capacity: more bytes, groups, layers, settings or tokens than a page can show
///   cost         about a millisecond for each 100 KB of JSON; a page of 4 groups, 28 layers, 20 settings and 4
///   passages
///                of 256 tokens stays under 2 MB
FATHOM_API Result<std::string> report_html(std::string_view report_json);

/// The same numbers as one line of JSON, checked as for the page; bytes that are no UTF-8 become U+FFFD.
///   errors       those of report_html()
FATHOM_API Result<std::string> report_line(std::string_view report_json);

}  // namespace fathom
