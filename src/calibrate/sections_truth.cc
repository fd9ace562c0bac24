// Whether predictions hold: reliability of confidence and of agreement, and whole continuations. Next:
// sections_passages.cc.
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

constexpr size_t kOpenLayers = 2;  // more are folded up

std::vector<svg::ReliabilityBin> bins_of(const std::vector<Bin>& bins) {
  std::vector<svg::ReliabilityBin> drawn;
  for (const Bin& bin : bins) drawn.push_back({bin.p, bin.agreed, bin.n});
  return drawn;
}

std::string diagram_of(const Reliability& r) {
  std::string label = fmt::format("Reliability after layer {}, {}", r.layer, r.group);
  if (r.ece_before && r.ece_after) {
    label += fmt::format(": mean error {} before and {} after", percent(r.ece_before), percent(r.ece_after));
  }
  std::string note;
  if (r.ece_before || r.ece_after) {
    note = fmt::format("Mean error of the confidence {}, of the agreement {}", percent(r.ece_before),
                       percent(r.ece_after));
  }
  if (r.temperature) note += fmt::format("{}temperature {}", note.empty() ? "" : "; ", number(r.temperature));
  const svg::ReliabilityDiagram diagram{label, bins_of(r.before), bins_of(r.after)};
  return html::figure(html::isolated(r.group), svg::reliability_diagram(diagram), note.empty() ? "" : note + ".");
}

std::string bins_table(const Reliability& r) {
  html::Table table(fmt::format("Layer {}, {}", r.layer, r.group),
                    {{"by"}, {"predicted", true}, {"seen", true}, {"tokens", true}});
  for (const Bin& bin : r.before) table.row({"confidence", percent(bin.p), percent(bin.agreed), number(bin.n)});
  for (const Bin& bin : r.after) table.row({"agreement", percent(bin.p), percent(bin.agreed), number(bin.n)});
  return table.html();
}

std::string translators_table(const Report& report) {
  if (report.translators.empty()) return {};
  html::Table table("Translators", {{"layer"}, {"kind"}, {"agrees with full depth", true}, {"kept"}, {"work", true}});
  for (const Translator& t : report.translators) {
    for (const GroupValue& kind : t.kinds) {
      const bool kept = kind.name == t.kept;
      table.row({count(t.layer), html::isolated(kind.name), percent(kind.value), kept ? "yes" : "no",
                 kept ? percent(t.work) : ""});
    }
  }
  return html::details("How early states are read",
                       html::paragraph("The state after a layer is translated into what the last layer would make of "
                                       "it. Of several kinds of translators, each layer keeps the one whose agreement "
                                       "is worth what it reads.") +
                           table.html());
}

std::string kv_translators_table(const Report& report) {
  const KvTranslators& t = report.kv_translators;
  if (t.policy.empty()) return {};
  html::Table runs("The same policy", {{"cells filled from"}, {"disagreement", true}, {"work", true}});
  runs.row({"the state the token left with", percent(t.plain.disagreement), percent(t.plain.work)});
  runs.row({"its translation", percent(t.translated.disagreement), percent(t.translated.work)});
  runs.row({"full depth's states (forecast)", percent(t.exact_cells), ""});
  html::Table layers("Error of what a layer reads",
                     {{"left after", true}, {"layer", true}, {"as it is", true}, {"translated", true}});
  for (const KvTranslators::Layer& l : t.layers) {
    layers.row({count(l.exit), count(l.layer), percent(l.plain), percent(l.translated)});
  }
  return html::details(
      "What is kept of tokens that leave",
      html::paragraph("Later tokens look back on those that left early, in layers that these did not run. What they "
                      "find there can be translated from the state the token left with into what the layer would have "
                      "read.") +
          html::paragraph(fmt::format("Tried with {}: {}", html::code(t.policy),
                                      t.kept ? "translations are used." : "translations are not used.")) +
          runs.html() + layers.html());
}

std::string safeguards_table(const Report& report) {
  if (report.safeguards.empty()) return {};
  html::Table table("The same policy with safeguards", {{"policy"},
                                                        {"texts", true},
                                                        {"wholly the same", true},
                                                        {"first difference, median token", true},
                                                        {"mean depth", true}});
  for (const Safeguard& s : report.safeguards) {
    table.row({html::code(s.policy), count(s.n), percent(s.whole_equal), number(s.median_first_difference),
               number(s.mean_depth)});
  }
  return html::paragraph(
             "A safeguard gives rows back their depth where one different token may cost much, or makes filled cells "
             "exact in turn. What each does to whole texts, on a few of them:") +
         table.html();
}

}  // namespace

Section reliability_section(const Report& report) {
  Section section{"reliability", "Whether confidence can be believed"};
  section.unmeasured = "Reliability: whether confidences hold was not measured.";
  if (report.reliability.empty()) return section;
  section.body = html::paragraph(
      "Early answers come with a confidence, which a temperature has scaled, and with the agreement that was fitted to "
      "what is seen of them. Where one says 90 %, nine of ten should agree with full depth: marks on the dashed line. "
      "Below the line a layer is too sure of itself. Policies ask the agreement. Bars along the bottom say how many "
      "tokens there are.");
  section.body += svg::legend({{"confidence", 1, svg::Key::Mark::hollow}, {"agreement", 0}});
  std::vector<int64_t> layers;
  for (const Reliability& r : report.reliability) {
    if (std::find(layers.begin(), layers.end(), r.layer) == layers.end()) layers.push_back(r.layer);
  }
  html::Table table("Mean error (ECE)",
                    {{"layer"}, {"group"}, {"temperature", true}, {"confidence", true}, {"agreement", true}});
  std::string all_bins;
  for (size_t i = 0; i < layers.size(); ++i) {
    std::vector<std::string> figures;
    for (const Reliability& r : report.reliability) {
      if (r.layer != layers[i]) continue;
      figures.push_back(diagram_of(r));
      table.row({count(r.layer), html::isolated(r.group), number(r.temperature), percent(r.ece_before),
                 percent(r.ece_after)});
      all_bins += bins_table(r);
    }
    const std::string name = fmt::format("After layer {}", layers[i]);
    section.body +=
        i < kOpenLayers ? "<h3>" + name + "</h3>\n" + html::grid(figures) : html::details(name, html::grid(figures));
  }
  section.body += html::details("The same as tables", table.html() + all_bins) + translators_table(report) +
                  kv_translators_table(report);
  return section;
}

Section continuations_section(const Report& report) {
  Section section{"continuations", "Whole continuations"};
  section.unmeasured = "Continuations: whole texts under the policy were not compared with full depth.";
  if (report.continuations.empty()) return section;
  section.body = html::paragraph(
      "The promise is about one token at a time, each after the same text. When a model writes on by itself, the first "
      "token that differs changes all that follows, so whole texts differ more often than single tokens. Different is "
      "not yet worse.");
  html::Table table("Continuations under the policy beside those at full depth",
                    {{"group"},
                     {"texts", true},
                     {"tokens each", true},
                     {"wholly the same", true},
                     {"first difference, median token", true}});
  svg::BarChart chart{.label = "Share of continuations that are wholly the same"};
  for (const Continuations& c : report.continuations) {
    table.row({html::isolated(c.name), count(c.n), count(c.tokens), percent(c.whole_equal),
               c.median_first_difference ? number(c.median_first_difference) : "none"});
    if (c.whole_equal) chart.bars.push_back({c.name, *c.whole_equal, percent(c.whole_equal), 0});
  }
  if (!chart.bars.empty()) section.body += html::grid({html::figure("Wholly the same", svg::bar_chart(chart))});
  section.body += table.html() + safeguards_table(report);
  return section;
}

}  // namespace fathom::report
