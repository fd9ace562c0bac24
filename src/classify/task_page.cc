// What training found, as a page for people: the promise, accuracy against cost, where texts leave, and those that
// needed every layer.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "fathom/classify/task_file.h"
#include "src/calibrate/html.h"
#include "src/calibrate/page.h"
#include "src/calibrate/svg.h"
#include "src/text/json_fields.h"

namespace fathom {
namespace {

using report::Section;

constexpr double kMost = 1e12;
constexpr size_t kMostRows = 4096, kShownLabels = 60;

/// The report's JSON; what is wrong with it is noted once.
struct Found {
  JsonField in;

  double number(const char* name) const { return in[name].number(-kMost, kMost); }
  double layers() const { return in["model"]["layers"].number(0, 4096); }
};

double share_of(const JsonField& field) { return field.number(0, 1); }
std::optional<double> maybe_share(const JsonField& field) { return field.maybe_number(0, 1); }

std::string or_all(const std::string& name) { return name.empty() ? "all texts" : html::isolated(name); }

report::Outcome outcome_of(const Found& f) {
  if (!f.in["certified"].flag()) {
    return {"no", "M5 12h14", "No-go: full depth",
            "No earlier head is surely enough what full depth says. Every text runs all layers."};
  }
  if (!f.in["pays"].flag()) {
    return {"no", "M12 6v8M12 17.5v.5", "Certified, but no faster here",
            "Texts may leave early at a bounded risk, but on this machine that took no less time. Full depth runs "
            "unless it is asked for."};
  }
  return {"yes", "M5 13l4.5 4.5L19 7", "Yes: a certified saving",
          "Texts leave as soon as an early head is surely enough what full depth says, and how often that changes a "
          "label is bounded."};
}

std::string tiles_of(const Found& f) {
  const JsonField all = f.in["all"];
  std::string tiles;
  if (f.in["certified"].flag()) {
    tiles += report::tile("Labels that may differ", "\xE2\x89\xA4 " + html::percent_asked(share_of(f.in["risk"])),
                          fmt::format("with {} confidence", html::percent_asked(share_of(f.in["confidence"]))));
  }
  tiles += report::tile("Accuracy", html::percent(maybe_share(all["accuracy"])),
                        "full depth: " + html::percent(maybe_share(all["accuracy_at_full_depth"])));
  tiles += report::tile("Mean depth", html::number(all["mean_depth"].maybe_number(0, 4096)),
                        fmt::format("of {:g} layers", f.layers()));
  const double early = f.number("policy_seconds"), full = f.number("full_seconds");
  if (early > 0) tiles += report::tile("Speed over full depth", html::ratio(full / early), "measured on this machine");
  return tiles;
}

Section frontier(const Found& f) {
  Section section{"frontier", "Accuracy against cost"};
  section.unmeasured = "Accuracy against cost: no setting was tried.";
  svg::Series accuracy{.name = "accuracy"}, differing{.name = "labels that differ", .style = 1};
  f.in["settings"].each(kMostRows, [&](const JsonField& s) {
    const double depth = s["report_depth"].number(0, 4096);
    const bool chosen = s["chosen"].flag();
    const std::string title = fmt::format("agreement at least {:.4g}: {:.2f} layers, {:.2f} % right, {:.2f} % differ",
                                          s["agreement_at_least"].number(0, 1), depth,
                                          100 * share_of(s["report_accuracy"]), 100 * share_of(s["report_differing"]));
    accuracy.points.push_back({.x = depth, .y = share_of(s["report_accuracy"]), .title = title, .chosen = chosen});
    differing.points.push_back({.x = depth, .y = share_of(s["report_differing"]), .title = title, .chosen = chosen});
  });
  if (accuracy.points.empty()) return section;
  double low = 1, most = share_of(f.in["risk"]);
  for (const svg::Point& p : accuracy.points) low = std::min(low, p.y);
  for (const svg::Point& p : differing.points) most = std::max(most, p.y);
  const svg::Axis depth{.title = "mean depth, layers", .low = 0, .high = f.layers()};
  section.body = html::paragraph(
      "Each point is a threshold on how likely an early head\xE2\x80\x99s label is full depth\xE2\x80\x99s. Texts held "
      "out from every choice; the mark is the setting that was certified.");
  section.body += html::grid(
      {html::figure(
           "Labels that are right",
           svg::line_chart({.label = "Accuracy by mean depth",
                            .x = depth,
                            .y = {.title = "right", .low = std::max(0.0, low - 0.02), .high = 1, .percent = true},
                            .series = {accuracy}})),
       html::figure("Labels that are not full depth\xE2\x80\x99s",
                    svg::line_chart({.label = "Differing labels by mean depth",
                                     .x = depth,
                                     .y = {.title = "differ", .low = 0, .high = most * 1.1 + 1e-3, .percent = true},
                                     .series = {differing},
                                     .rules = {{.name = "asked for", .at = share_of(f.in["risk"])}}}))});
  return section;
}

std::string name_of_depth(double layer) {
  return layer == 0 ? std::string("words alone") : fmt::format("{:g} layer{}", layer, layer == 1 ? "" : "s");
}

Section depths(const Found& f) {
  Section section{"depths", "Where texts leave"};
  section.unmeasured = "Where texts leave: not measured.";
  svg::BarChart bars{.label = "Share of texts that leave at each depth"};
  html::Table table(
      "Heads",
      {{"behind"}, {"texts leave", true}, {"right alone", true}, {"as full depth", true}, {"temperature", true}});
  double high = 0;
  f.in["depths"].each(kMostRows, [&](const JsonField& d) {
    const double layer = d["layer"].number(0, 4096), left = share_of(d["left"]);
    high = std::max(high, left);
    bars.bars.push_back({.name = name_of_depth(layer), .value = left, .shown = html::percent(left)});
    table.row({name_of_depth(layer), html::percent(left), html::percent(share_of(d["accuracy"])),
               html::percent(share_of(d["agreement"])), html::number(d["temperature"].number(0, kMost))});
  });
  if (table.empty()) return section;
  bars.high = std::max(high, 0.01);
  section.body = html::grid({html::figure("Texts that leave at each depth", svg::bar_chart(bars))}) + table.html();
  return section;
}

Section counts(const Found& f, const char* field, const char* id, const char* title, const char* what) {
  Section section{id, title};
  section.unmeasured = fmt::format("{}: not measured.", title);
  html::Table table(title, {{what},
                            {"texts", true},
                            {"right", true},
                            {"right at full depth", true},
                            {"differ", true},
                            {"mean depth", true}});
  size_t n = 0;
  f.in[field].each(kMostRows, [&](const JsonField& c) {
    if (n++ >= kShownLabels) return;
    table.row({or_all(c["name"].text()), html::count(c["texts"].whole(0, int64_t{1} << 40)),
               html::percent(maybe_share(c["accuracy"])), html::percent(maybe_share(c["accuracy_at_full_depth"])),
               html::percent(maybe_share(c["differing"])), html::number(c["mean_depth"].maybe_number(0, 4096))});
  });
  if (table.empty()) return section;
  section.body = table.html();
  if (n > kShownLabels) section.body += html::paragraph(fmt::format("{} more are in the JSON.", n - kShownLabels));
  return section;
}

void add_bounds(html::Table& table, const JsonField& bounds, const char* outcome) {
  bounds.each(kMostRows, [&](const JsonField& b) {
    table.row({or_all(b["name"].text()), outcome, html::count(b["texts"].whole(0, int64_t{1} << 40)),
               html::percent(share_of(b["mean"])), html::percent(share_of(b["upper"])),
               html::count(b["missing"].whole(0, int64_t{1} << 62))});
  });
}

Section promise(const Found& f) {
  Section section{"promise", "What the promise stands on"};
  section.unmeasured = "The promise: nothing was tested.";
  html::Table table("Bounds", {{"texts of"},
                               {"setting"},
                               {"texts", true},
                               {"differ, as seen", true},
                               {"surely below", true},
                               {"more needed", true}});
  add_bounds(table, f.in["passed"], "the boldest that passed");
  add_bounds(table, f.in["refused"], "the next, refused");
  if (table.empty()) return section;
  section.body = html::paragraph(
      "Thresholds were tested from the safest to the boldest, on texts that nothing else had seen, until one failed in "
      "some group. A label differs where it is not what full depth says; whether either is right is another question, "
      "which the tables answer.");
  section.body += table.html();
  return section;
}

Section deep(const Found& f) {
  Section section{"deep", "Texts that needed full depth, and why"};
  section.unmeasured = "Texts that needed full depth: there are none, or none were kept.";
  f.in["deep"].each(64, [&](const JsonField& d) {
    std::vector<std::string> said;
    d["said"].each(4096, [&](const JsonField& s) { said.push_back(s.text()); });
    std::string heads;
    size_t i = 0;
    d["agreement"].each(4096, [&](const JsonField& a) {
      if (i < said.size()) {
        heads += fmt::format("{}{} ({})", heads.empty() ? "" : " \xE2\x86\x92 ", html::isolated(said[i]),
                             html::percent(share_of(a)));
      }
      ++i;
    });
    section.body += "<blockquote>" + html::escape(d["text"].text()) + "</blockquote>\n" + html::paragraph(heads);
  });
  if (!section.body.empty()) {
    section.body = html::paragraph(
                       "Behind each label, from words alone to the last layer, how likely it was full "
                       "depth\xE2\x80\x99s: none was likely enough.") +
                   section.body;
  }
  return section;
}

Section origin(const Found& f) {
  Section section{"reproduce", "How to have these numbers again"};
  section.unmeasured = "How to reproduce it: not written down.";
  const std::string command = f.in["command"].text_or("");
  if (!command.empty()) section.body = "<pre>" + html::escape_lines(command) + "</pre>\n";
  html::Table table("The texts", {{"part"}, {"texts", true}});
  const JsonField texts = f.in["texts"];
  for (const auto& [field, shown] : {std::pair("train", "heads are fitted on"),
                                     {"tune", "temperatures, maps and order come from"},
                                     {"choose", "the certificate stands on"},
                                     {"report", "held out"},
                                     {"duplicates", "left out: twice there"},
                                     {"contradictions", "left out: twice there, with different labels"},
                                     {"rare", "left out: labels too rare"},
                                     {"bad_lines", "left out: lines that are none"}}) {
    table.row({shown, html::count(texts[field].whole(0, int64_t{1} << 40))});
  }
  section.body += table.html();
  return section;
}

}  // namespace

Result<std::string> task_report_html(std::string_view report_json) {
  FATHOM_TRY(const JsonValue document, parse_json(report_json, "report", {.fields = kMostRows}));
  std::optional<Error> error;
  const Found f{JsonField(&document, "", &error)};
  const std::string name = f.in["model"]["name"].text();
  report::Page page{.kind = "classification report", .heading = name};
  page.meta = fmt::format(
      "{:g} layers, {} labels{}.", f.layers(),
      [&] {
        size_t n = 0;
        f.in["labels"].each(kMostLabels, [&](const JsonField&) { ++n; });
        return n;
      }(),
      f.in["machine"].text_or("").empty() ? "" : ". Measured on " + html::escape(f.in["machine"].text()));
  page.verdict = report::verdict_box(outcome_of(f), f.in["promise"].text_or(""), f.in["policy"].text(), tiles_of(f));
  page.sections = {frontier(f),
                   depths(f),
                   counts(f, "by_label_of_full_depth", "labels", "By label", "label at full depth"),
                   counts(f, "groups", "groups", "By group", "group"),
                   promise(f),
                   deep(f),
                   origin(f)};
  if (error) return Error{error->code, "report: " + error->message};
  return report::page_html(page);
}

}  // namespace fathom
