// What was tried: disagreement against work, speed, ceilings, and what does not pay. Next: sections_depths.cc.
#include <fmt/format.h>

#include <algorithm>

#include "src/calibrate/html.h"
#include "src/calibrate/report_sections.h"
#include "src/calibrate/svg.h"

namespace fathom::report {
namespace {

using html::count;
using html::number;
using html::percent;

std::vector<std::string> groups_of(const Report& report) {
  std::vector<std::string> names;
  for (const Candidate& c : report.candidates) {
    for (const Disagreement& g : c.groups) {
      if (std::find(names.begin(), names.end(), g.name) == names.end()) names.push_back(g.name);
    }
  }
  return names;
}

// A candidate's numbers in a group; of all groups (null name), those of the one with the largest bound.
const Disagreement* of_group(const Candidate& c, const std::string* name) {
  const Disagreement* found = nullptr;
  const auto size = [](const Disagreement& d) { return d.upper.value_or(d.mean.value_or(0)); };
  for (const Disagreement& d : c.groups) {
    if (name != nullptr ? d.name == *name : found == nullptr || size(d) > size(*found)) found = &d;
  }
  return found;
}

// Axes that hold the settings that matter: cheap nonsense far above the risk does not press the rest to the floor.
void set_axes(const Report& report, svg::LineChart& chart) {
  double low = 1, high = 1, top = 0, wanted = 0;
  for (const Candidate& c : report.candidates) {
    const Disagreement* const worst = of_group(c, nullptr);
    if (!c.work || worst == nullptr) continue;
    low = std::min(low, *c.work);
    high = std::max(high, *c.work);
    const double size = std::max(worst->upper.value_or(0), worst->mean.value_or(0));
    top = std::max(top, size);
    if (c.chosen) wanted = size;
  }
  if (report.run.risk) top = std::min(top, std::max(5 * *report.run.risk, 1.2 * wanted));
  if (report.run.risk) top = std::max(top, 1.5 * *report.run.risk);
  const double room = std::max(.04 * (high - low), .01);
  chart.x = {"work, of full depth", std::max(low - room, 0.0), high + room, true};
  chart.y = {fmt::format("{} that differ{} from full depth", report.of_what(), report.run.temperature > 0 ? "s" : ""),
             0, std::min(std::max(top * 1.08, 1e-4), 1.0), true};
}

std::string said_of(const Candidate& c, const Disagreement& d) {
  std::string text = fmt::format("{}: work {}, differs {}", short_name(c), percent(c.work), percent(d.mean));
  if (d.upper) text += fmt::format(", at most {}", percent(d.upper));
  if (d.held_out) text += fmt::format(", on held-out text {}", percent(d.held_out));
  return text += c.chosen ? ", chosen" : "";
}

// One group's chart; null: the worst of each setting's groups. Empty where nothing can be drawn.
std::string group_chart(const Report& report, const std::string* group) {
  const std::vector<std::string> mechanisms = mechanisms_of(report);
  svg::LineChart chart{.label = fmt::format("Disagreement against work, {}; the table below holds the same numbers",
                                            group != nullptr ? *group : "worst group")};
  set_axes(report, chart);
  size_t drawn = 0, above = 0;
  for (const std::string& mechanism : mechanisms) {
    svg::Series series{.name = mechanism, .style = style_of(mechanisms, mechanism)};
    for (const Candidate& c : report.candidates) {
      const Disagreement* const d = of_group(c, group);
      if (c.mechanism != mechanism || !c.work || d == nullptr || (!d->mean && !d->upper)) continue;
      const double mean = d->mean.value_or(d->upper.value_or(0));
      series.points.push_back({*c.work, mean, mean, d->upper, said_of(c, *d), c.chosen});
      ++drawn;
      if (mean > chart.y.high) ++above;
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  if (drawn == 0) return {};
  if (report.run.risk)
    chart.rules.push_back({fmt::format("allowed: {}", html::percent_asked(*report.run.risk)), *report.run.risk});
  const std::string note =
      above > 0 ? fmt::format("{} of {} settings {} above the frame.", above, drawn, above == 1 ? "lies" : "lie") : "";
  const std::string caption = group != nullptr ? html::isolated(*group) : "The worst group of each setting";
  return html::figure(caption, svg::line_chart(chart), note);
}

std::string chosen_table(const Report& report) {
  const Candidate* const c = report.chosen();
  if (c == nullptr || c->groups.empty()) return {};
  html::Table table(
      "The chosen setting in each group",
      {{"group"}, {"differs, measured", true}, {"limit", true}, {"on held-out text", true}, {"pieces", true}});
  for (const Disagreement& d : c->groups) {
    table.row({html::isolated(d.name), percent(d.mean), d.upper ? "\xE2\x89\xA4 " + percent(d.upper) : percent(d.upper),
               percent(d.held_out), count(d.pieces)});
  }
  return table.html();
}

std::string candidates_table(const Report& report) {
  html::Table table("Every setting that was tried; the chosen one is on a coloured ground",
                    {{"setting"},
                     {"work", true},
                     {"mean depth", true},
                     {"differs, worst group", true},
                     {"limit", true},
                     {"ms a token", true},
                     {"over full depth", true},
                     {"over lossless", true},
                     {"certified"},
                     {"policy"}});
  const auto speed = [](const std::optional<Ratio>& r) {
    return r ? fmt::format("{} ({:.2f}\xE2\x80\x93{:.2f})", html::ratio(r->ratio), r->low, r->high) : number({});
  };
  for (const Candidate& c : report.candidates) {
    const Disagreement* const worst = of_group(c, nullptr);
    table.row({html::escape(short_name(c)) + (c.chosen ? " (chosen)" : ""), percent(c.work), number(c.mean_depth),
               percent(worst != nullptr ? worst->mean : Share()), percent(c.worst_upper()), number(c.ms_policy),
               speed(c.over_full), speed(c.over_lossless), c.certified ? "yes" : "no", html::code(c.policy)},
              c.chosen);
  }
  return html::details(fmt::format("All {} settings as a table", table.size()), table.html());
}

// The chart of one of a candidate's ratios.
std::string ratio_chart(const Report& report, std::optional<Ratio> Candidate::*field, const std::string& other) {
  const std::vector<std::string> mechanisms = mechanisms_of(report);
  svg::IntervalChart chart{.label = fmt::format("Speed over {}; the table of settings holds the same numbers", other),
                           .x = {"times as fast", .98, 1.02},
                           .rule = {"as fast as " + other, 1}};
  for (const Candidate& c : report.candidates) {
    if (!(c.*field)) continue;
    const Ratio& r = *(c.*field);
    chart.x.low = std::min(chart.x.low, r.low);
    chart.x.high = std::max(chart.x.high, r.high);
    chart.rows.push_back(
        {short_name(c), r.ratio, r.low, r.high, html::ratio(r.ratio), style_of(mechanisms, c.mechanism), c.chosen});
  }
  if (chart.rows.empty()) return {};
  const double room = .05 * (chart.x.high - chart.x.low);
  chart.x.low = std::max(chart.x.low - room, 0.0);
  chart.x.high += room;
  return html::figure("Speed over " + html::escape(other), svg::interval_chart(chart));
}

std::string milliseconds(const Candidate& c) {
  svg::BarChart chart{.label = "Milliseconds for a token"};
  const auto add = [&](const char* name, std::optional<double> ms, int style, bool chosen) {
    if (ms) chart.bars.push_back({name, *ms, number(ms) + " ms", style, chosen});
  };
  const bool lossless = c.mechanism == "lossless";
  add("Full depth", c.ms_full, 6, false);
  add("Lossless savings alone", c.ms_lossless, 2, lossless);
  if (!lossless) add("The chosen policy", c.ms_policy, 0, true);
  if (chart.bars.empty()) return {};
  chart.high = 0;
  for (const svg::Bar& bar : chart.bars) chart.high = std::max(chart.high, bar.value);
  return html::figure("Time for a token, here", svg::bar_chart(chart), "Shorter is faster.");
}

// How many settings are surely faster than the lossless savings, in words.
std::string speed_finding(const Report& report) {
  size_t measured = 0, faster = 0, certified = 0;
  for (const Candidate& c : report.candidates) {
    if (!c.over_lossless || c.mechanism == "lossless") continue;
    ++measured;
    if (c.over_lossless->low <= 1) continue;
    ++faster;
    if (c.certified) ++certified;
  }
  if (measured == 0) return {};
  if (faster == 0) {
    return html::paragraph(
        fmt::format("None of {} settings is surely faster than the lossless savings alone.", measured), "finding");
  }
  const char* const are = faster == 1 ? "is" : "are";
  if (certified == 0) {
    return html::paragraph(
        fmt::format("{} of {} settings {} surely faster than the lossless savings alone, but none of "
                    "these can be certified.",
                    faster, measured, are),
        "finding");
  }
  return html::paragraph(
      fmt::format("{} of {} settings {} surely faster than the lossless savings alone; {} of these {} "
                  "certified.",
                  faster, measured, are, certified, certified == 1 ? "is" : "are"),
      "finding");
}

}  // namespace

std::string short_name(const Candidate& candidate) {
  if (candidate.mechanism == "lossless" && candidate.policy.find("exit_when") != std::string::npos) {
    return "lossless, exits as drafts";
  }
  return candidate.parameter ? fmt::format("{} {:.4g}", candidate.mechanism, *candidate.parameter)
                             : candidate.mechanism;
}

std::vector<std::string> mechanisms_of(const Report& report) {
  std::vector<std::string> names;
  for (const Candidate& c : report.candidates) {
    if (std::find(names.begin(), names.end(), c.mechanism) == names.end()) names.push_back(c.mechanism);
  }
  return names;
}

int style_of(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin());
}

Section frontier_section(const Report& report) {
  Section section{"risk", "Risk against cost"};
  section.unmeasured = "Risk against cost: no setting was tried.";
  std::vector<std::string> figures;
  const std::vector<std::string> groups = groups_of(report);
  if (groups.size() > 1) figures.push_back(group_chart(report, nullptr));
  for (const std::string& group : groups) figures.push_back(group_chart(report, &group));
  figures.erase(std::remove(figures.begin(), figures.end(), ""), figures.end());
  if (report.candidates.empty()) return section;
  const std::string sure =
      report.run.confidence ? fmt::format(" with {} confidence", html::percent_asked(*report.run.confidence)) : "";
  section.body = html::paragraph(
      "Each mark is one setting that was tried. Further left is cheaper; lower is closer to the model\xE2\x80\x99s own "
      "full depth. The band reaches from what was measured up to its limit" +
      sure +
      ". A setting may be chosen only where the top of its band is under the dashed line in every group. The ring is "
      "the one that was chosen.");
  std::vector<svg::Key> keys;
  const std::vector<std::string> mechanisms = mechanisms_of(report);
  for (const std::string& name : mechanisms) keys.push_back({name, style_of(mechanisms, name)});
  if (!figures.empty()) section.body += svg::legend(keys) + html::grid(figures);
  section.body += chosen_table(report) + candidates_table(report) + certified_table(report) + drawn_again(report);
  return section;
}

Section speed_section(const Report& report) {
  Section section{"speed", "Speed on this machine"};
  section.unmeasured = "Speed: nothing was timed on this machine.";
  std::vector<std::string> figures;
  if (const Candidate* const c = report.chosen()) figures.push_back(milliseconds(*c));
  figures.push_back(ratio_chart(report, &Candidate::over_lossless, "lossless savings alone"));
  figures.push_back(ratio_chart(report, &Candidate::over_full, "full depth"));
  figures.erase(std::remove(figures.begin(), figures.end(), ""), figures.end());
  if (figures.empty()) return section;
  section.body = html::paragraph(
      "Work that is saved is not yet time that is saved. Each row is one setting: the mark is what was measured, the "
      "line "
      "says how sure that is. A setting pays only where its whole line is right of the dashed one.");
  section.body += speed_finding(report) + html::grid(figures);
  return section;
}

Section ceilings_section(const Report& report) {
  Section section{"ceilings", "What could be saved at best"};
  section.unmeasured = "Ceilings: what a mechanism could save at best was not measured.";
  std::vector<std::string> figures;
  const Candidate* const chosen = report.chosen();
  for (const Ceiling& ceiling : report.ceilings) {
    svg::BarChart chart{.label = "Work of " + ceiling.what + " by group"};
    for (const GroupValue& g : ceiling.groups) chart.bars.push_back({g.name, g.value, percent(g.value), 0});
    for (const GroupValue& g : ceiling.groups) chart.high = std::max(chart.high, g.value);
    if (chosen != nullptr && chosen->work) {
      chart.high = std::max(chart.high, *chosen->work);
      chart.rule = svg::Rule{fmt::format("chosen: {}", percent(chosen->work)), *chosen->work};
    }
    if (!chart.bars.empty()) {
      figures.push_back(html::figure(html::isolated(ceiling.what), svg::bar_chart(chart), html::escape(ceiling.note)));
    }
  }
  if (figures.empty()) return section;
  section.body = html::paragraph(
      "The work that would be left if every decision were right, which no policy can know beforehand: the room that "
      "there "
      "is. A bar near 100 % says that there is nothing to be had, whatever is tried. Shorter is cheaper.");
  section.body += html::grid(figures);
  return section;
}

Section nogo_section(const Report& report) {
  Section section{"no-go", "What does not pay here, and why"};
  section.unmeasured = "No-go: no mechanism was turned down.";
  if (report.nogo.empty()) return section;
  section.body = html::paragraph(
      "Each of these is left out of the policy on this model and machine, for the reason that it names. That is a "
      "result and not a fault: another model, another text or another machine may give another one.");
  section.body += "<div class=\"nogo\">\n";
  for (const NoGo& n : report.nogo) {
    std::string facts;
    const auto fact = [&](const char* name, const std::string& value) {
      if (!value.empty()) facts += fmt::format("<dt>{}</dt><dd>{}</dd>", name, html::escape(value));
    };
    fact("at best", n.ceiling);
    fact("tried", n.tried);
    fact("decided by", n.decided_by);
    section.body += fmt::format("<article><h3>{}</h3>{}{}</article>\n", html::isolated(n.mechanism),
                                n.reason.empty() ? "" : html::paragraph(html::escape(n.reason)),
                                facts.empty() ? "" : "<dl>" + facts + "</dl>");
  }
  section.body += "</div>\n";
  return section;
}

}  // namespace fathom::report
