// The calibration report: its parts in order. Next: page.cc, what is around them.
#include "fathom/calibrate/report.h"

#include <fmt/format.h>

#include <vector>

#include "src/calibrate/html.h"
#include "src/calibrate/report_sections.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

using report::Report;
using report::Section;

std::vector<Section> sections_of(const Report& r) {
  std::vector<Section> sections;
  const bool nogo_first = !r.promise.certified || r.promise.lossless;
  if (nogo_first) sections.push_back(nogo_section(r));
  sections.push_back(frontier_section(r));
  sections.push_back(speed_section(r));
  sections.push_back(ceilings_section(r));
  if (!nogo_first) sections.push_back(nogo_section(r));
  sections.push_back(reliability_section(r));
  sections.push_back(exit_depth_section(r));
  sections.push_back(signals_section(r));
  sections.push_back(layer_utility_section(r));
  sections.push_back(head_utility_section(r));
  sections.push_back(passages_section(r));
  sections.push_back(continuations_section(r));
  sections.push_back(groups_section(r));
  sections.push_back(words_section(r));
  sections.push_back(reproduce_section(r));
  return sections;
}

std::string meta_of(const Report& r) {
  std::string meta = fmt::format("{} layers", r.model.layers);
  if (r.model.d_model) meta += fmt::format(", width {}", html::count(r.model.d_model));
  if (r.model.vocab) meta += fmt::format(", {} tokens in its vocabulary", html::count(r.model.vocab));
  if (!r.model.numerics.empty()) meta += fmt::format(", numerics {}", html::escape(r.model.numerics));
  if (!r.machine.empty()) meta += ". Measured on " + html::escape(r.machine);
  return meta + ".";
}

}  // namespace

Result<std::string> report_line(std::string_view report_json) {
  FATHOM_TRY(report::read_report(report_json));
  FATHOM_TRY(const JsonValue document, parse_json(report_json, "report"));
  return document.dump(-1, ' ', false, JsonValue::error_handler_t::replace);
}

Result<std::string> report_html(std::string_view report_json) {
  FATHOM_TRY(const Report r, report::read_report(report_json));
  return report::page_html({.kind = "calibration report",
                            .heading = r.model.name,
                            .meta = meta_of(r),
                            .verdict = verdict(r),
                            .sections = sections_of(r)});
}

}  // namespace fathom
