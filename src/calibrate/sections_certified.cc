// The settings that hold together: levels of risk, and groups with their own. Next: sections_depths.cc.
#include <fmt/format.h>

#include "src/calibrate/html.h"
#include "src/calibrate/report_sections.h"

namespace fathom::report {

std::string certified_table(const Report& report) {
  if (report.certified.size() < 2) return {};  // the one that is chosen is told above
  html::Table table(
      "Certified together",
      {{"for"}, {"at most", true}, {"setting"}, {"work", true}, {"mean depth", true}, {"differs, worst group", true}});
  for (const CertifiedSetting& c : report.certified) {
    const Disagreement* worst = nullptr;
    for (const Disagreement& d : c.groups) {
      if (worst == nullptr || d.mean.value_or(0) > worst->mean.value_or(0)) worst = &d;
    }
    table.row({c.group.empty() ? "all groups" : html::isolated(c.group), html::percent_asked(c.risk),
               c.policy.empty() ? "none" : html::code(c.policy), html::percent(c.work), html::number(c.mean_depth),
               html::percent(worst != nullptr ? worst->mean : Share())});
  }
  const std::string sure =
      report.run.confidence ? fmt::format(" with {} confidence", html::percent_asked(*report.run.confidence)) : "";
  return html::details("Levels of risk, and groups with settings of their own",
                       html::paragraph("All of these hold at once" + sure +
                                       ": the confidence is shared out among them. A group without a row of its own "
                                       "runs with the setting for all groups.") +
                           table.html(),
                       true);
}

std::string drawn_again(const Report& report) {
  std::string outcomes;
  for (const DrawnAgain& d : report.drawn_again) {
    outcomes += fmt::format(
        " At {}{} a setting was taken that differs more in {} of {} draws; chance explains up to {}.",
        d.promised ? html::percent_asked(d.risk) : html::percent(d.risk),
        d.promised ? "" : ", just below what the boldest setting differs, where a wrong choice is likeliest,", d.broken,
        d.runs, d.allowed);
  }
  if (outcomes.empty()) return {};
  return html::paragraph(
      "The choice itself was tested: it was made again and again with documents drawn anew out of these, whose own "
      "figures are then the truth." +
      outcomes);
}

}  // namespace fathom::report
