// Where savings come from: signals, exit depths, and what each layer and head is worth. Next: sections_truth.cc.
#include <fmt/format.h>

#include <algorithm>

#include "src/calibrate/html.h"
#include "src/calibrate/report_sections.h"
#include "src/calibrate/svg.h"
#include "src/calibrate/svg_canvas.h"

namespace fathom::report {
namespace {

using html::count;
using html::number;
using html::percent;

std::vector<std::string> numbers(size_t n, size_t first) {
  std::vector<std::string> names;
  for (size_t i = 0; i < n; ++i) names.push_back(fmt::to_string(first + i));
  return names;
}

// The least and the largest number of a matrix joins what is known so far.
void widen(const Matrix& matrix, double& low, double& high) {
  for (const auto& row : matrix) {
    for (const std::optional<double>& value : row) {
      if (value) low = std::min(low, *value), high = std::max(high, *value);
    }
  }
}

size_t columns_of(const Matrix& matrix) {
  size_t n = 0;
  for (const auto& row : matrix) n = std::max(n, row.size());
  return n;
}

// There are so many styles to tell lines by: of more, those that reach highest.
void keep_best(std::vector<svg::Series>& series) {
  if (series.size() <= static_cast<size_t>(svg::kStyles)) return;
  const auto highest = [](const svg::Series& s) {
    double most = 0;
    for (const auto& point : s.points) most = std::max(most, point.y);
    return most;
  };
  std::stable_sort(series.begin(), series.end(), [&](const auto& a, const auto& b) { return highest(a) > highest(b); });
  series.resize(static_cast<size_t>(svg::kStyles));
  for (size_t i = 0; i < series.size(); ++i) series[i].style = static_cast<int>(i);
}

std::string signals_chart(const Report& report) {
  svg::LineChart chart{
      .label = "How well each signal tells right from wrong, by layer; the table holds the same numbers",
      .x = {"after layer", 0, static_cast<double>(report.model.layers), false, true},
      .y = {"area under the curve (AUC)", .5, 1}};
  for (const SignalQuality& s : report.signals) {
    if (!s.layer || !s.auc) continue;
    auto series =
        std::find_if(chart.series.begin(), chart.series.end(), [&](const auto& x) { return x.name == s.name; });
    if (series == chart.series.end()) {
      const int style = static_cast<int>(chart.series.size());
      series = chart.series.insert(series, svg::Series{.name = s.name, .style = style});
    }
    series->points.push_back({.x = static_cast<double>(*s.layer),
                              .y = *s.auc,
                              .title = fmt::format("{} after layer {}: {:.3f}", s.name, *s.layer, *s.auc)});
    chart.y.low = std::min(chart.y.low, *s.auc);
  }
  if (chart.series.empty()) return {};
  keep_best(chart.series);
  std::vector<svg::Key> keys;
  for (const svg::Series& s : chart.series) keys.push_back({s.name, s.style});
  return svg::legend(keys) + html::grid({html::figure("How well a signal tells, by layer", svg::line_chart(chart))});
}

double tokens_of(const ExitDepth& depth) {
  double all = 0;
  for (const auto& group : depth.groups) {
    for (const double n : group.counts) all += n;
  }
  return all;
}

std::string exit_histogram(const ExitDepth& depth) {
  svg::StackedHistogram histogram{
      .label = "Share of tokens by the layer after which they left; the table below holds the same by group",
      .x_title = "layers that were run",
      .y_title = "share of all tokens",
      .bins = numbers(static_cast<size_t>(depth.layers), 1)};
  const double all = tokens_of(depth);
  if (all <= 0) return {};
  std::vector<svg::Key> keys;
  for (const auto& group : depth.groups) {
    const int style = static_cast<int>(keys.size());
    svg::StackedHistogram::Part part{.name = group.name, .style = style};
    for (const double n : group.counts) part.counts.push_back(n / all);
    keys.push_back({group.name, style, svg::Key::Mark::block});
    histogram.parts.push_back(std::move(part));
  }
  return html::figure("Where tokens leave, by group", svg::legend(keys) + svg::stacked_histogram(histogram));
}

std::string exit_table(const ExitDepth& depth) {
  if (tokens_of(depth) <= 0) return {};
  html::Table table("Depth by group",
                    {{"group"}, {"tokens", true}, {"mean depth", true}, {"left before the last layer", true}});
  for (const auto& group : depth.groups) {
    double sum = 0, layers = 0;
    for (size_t i = 0; i < group.counts.size(); ++i) {
      sum += group.counts[i];
      layers += group.counts[i] * static_cast<double>(i + 1);
    }
    table.row({html::isolated(group.name), number(sum), sum > 0 ? number(layers / sum) : number({}),
               sum > 0 ? percent(1 - group.counts.back() / sum) : percent({})});
  }
  return table.html();
}

std::string position_chart(const ExitDepth& depth) {
  if (depth.positions.empty()) return {};
  svg::LineChart chart{.label = "Mean depth by position in the text",
                       .x = {"position in the text, tokens", depth.positions[0].from, 0},
                       .y = {"mean depth, layers", 0, static_cast<double>(depth.layers) * 1.03}};
  svg::Series series{.name = "mean depth"};
  for (const auto& p : depth.positions) {
    series.points.push_back(
        {.x = (p.from + p.to) / 2,
         .y = p.mean_depth,
         .title = fmt::format("positions {:.0f} to {:.0f}: {:.2f} layers", p.from, p.to, p.mean_depth)});
    chart.x.low = std::min(chart.x.low, p.from);
    chart.x.high = std::max({chart.x.high, p.from, p.to});
  }
  chart.series.push_back(std::move(series));
  return html::figure("Depth by position", svg::line_chart(chart));
}

std::string class_chart(const ExitDepth& depth) {
  if (depth.token_classes.empty()) return {};
  svg::BarChart chart{.label = "Mean depth by kind of token", .high = static_cast<double>(depth.layers)};
  for (const auto& c : depth.token_classes) {
    const std::string n = c.n ? fmt::format("{} ({} tokens)", c.name, count(c.n)) : c.name;
    chart.bars.push_back({n, c.mean_depth, number(c.mean_depth), 0});
  }
  return html::figure("Depth by kind of token", svg::bar_chart(chart));
}

// A matrix as a table; its first column names the rows.
std::string matrix_table(const std::string& caption, const std::string& corner, const std::vector<std::string>& rows,
                         const std::vector<std::string>& columns, const Matrix& matrix, bool shares) {
  std::vector<html::Table::Column> heads = {{corner}};
  for (const std::string& column : columns) heads.push_back({html::escape(column), true});
  html::Table table(caption, std::move(heads));
  for (size_t r = 0; r < rows.size() && r < matrix.size(); ++r) {
    std::vector<std::string> cells = {html::escape(rows[r])};
    for (size_t c = 0; c < columns.size(); ++c) {
      const std::optional<double> value = c < matrix[r].size() ? matrix[r][c] : std::nullopt;
      cells.push_back(shares ? percent(value) : number(value));
    }
    table.row(std::move(cells));
  }
  return table.html();
}

Matrix turned(const Matrix& matrix) {
  Matrix other(columns_of(matrix), std::vector<std::optional<double>>(matrix.size()));
  for (size_t r = 0; r < matrix.size(); ++r) {
    for (size_t c = 0; c < matrix[r].size(); ++c) other[c][r] = matrix[r][c];
  }
  return other;
}

std::string with_spaces(std::string name) {
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

}  // namespace

Section signals_section(const Report& report) {
  Section section{"signals", "What tells an easy token from a hard one"};
  section.unmeasured = "Signals: how well they tell easy tokens from hard ones was not measured.";
  if (report.signals.empty()) return section;
  section.body = html::paragraph(
      "A policy leaves early where a signal says that the rest of the layers would change nothing. 1.0 tells "
      "right from wrong without fail; 0.5 is a coin.");
  section.body += signals_chart(report);
  std::vector<std::string> groups;
  for (const SignalQuality& s : report.signals) {
    for (const GroupValue& g : s.groups) {
      if (std::find(groups.begin(), groups.end(), g.name) == groups.end()) groups.push_back(g.name);
    }
  }
  std::vector<html::Table::Column> columns = {{"signal"}, {"layer", true}, {"AUC", true}, {"work", true}};
  for (const std::string& group : groups) columns.push_back({"AUC, " + html::isolated(group), true});
  html::Table table("Signals", std::move(columns));
  for (const SignalQuality& s : report.signals) {
    std::vector<std::string> cells = {html::isolated(s.name), count(s.layer), number(s.auc), percent(s.work)};
    for (const std::string& group : groups) {
      const auto found = std::find_if(s.groups.begin(), s.groups.end(), [&](const auto& g) { return g.name == group; });
      cells.push_back(number(found != s.groups.end() ? std::optional<double>(found->value) : std::nullopt));
    }
    table.row(std::move(cells));
  }
  section.body += html::details("Signals as a table", table.html(), report.signals.size() <= 8);
  return section;
}

Section exit_depth_section(const Report& report) {
  Section section{"depth", "How deep tokens go"};
  section.unmeasured = "Exit depth: the depth of tokens by group, position and kind was not measured.";
  const ExitDepth& depth = report.exit_depth;
  std::vector<std::string> figures;
  for (std::string one : {exit_histogram(depth), position_chart(depth), class_chart(depth)}) {
    if (!one.empty()) figures.push_back(std::move(one));
  }
  if (figures.empty()) return section;
  section.body = html::paragraph(
      fmt::format("Depth is how many of the {} layers a token ran through before its answer was taken.", depth.layers));
  section.body += html::grid(figures) + exit_table(depth);
  return section;
}

namespace {

// Whole layers, or whatever part comes first, by stretches of a text or of prompts.
std::string stretch_map(const LayerUtility& utility, const std::vector<LayerUtility::Stretch>& stretches,
                        const std::string& title, const std::string& y_title, double high) {
  std::vector<std::string> rows;
  Matrix values;
  for (const LayerUtility::Stretch& stretch : stretches) {
    if (stretch.disagreement.empty()) continue;
    rows.push_back(fmt::format("{:.0f}-{:.0f}", stretch.from, stretch.to));
    values.push_back(stretch.disagreement.front());
  }
  if (rows.empty() || columns_of(values) == 0) return {};
  const svg::HeatMap map{.label = title + ": tokens that change without each " + with_spaces(utility.parts.front()),
                         .x_title = "layer that is left out",
                         .y_title = y_title,
                         .rows = rows,
                         .columns = numbers(columns_of(values), 1),
                         .values = values,
                         .low = 0,
                         .high = high};
  return html::figure(title, svg::heat_map(map));
}

}  // namespace

Section layer_utility_section(const Report& report) {
  Section section{"layers", "What each layer is worth"};
  section.unmeasured = "Layer utility: what happens without each layer was not measured.";
  const LayerUtility& utility = report.layer_utility;
  double low = 0, high = 0;
  for (const auto& group : utility.groups) widen(group.disagreement, low, high);
  for (const auto* stretches : {&utility.positions, &utility.prompts}) {
    for (const auto& stretch : *stretches) widen(stretch.disagreement, low, high);
  }
  std::vector<std::string> figures, parts;
  for (const std::string& part : utility.parts) parts.push_back(with_spaces(part));
  std::string tables;
  for (const auto& group : utility.groups) {
    const size_t n = columns_of(group.disagreement);
    if (n == 0) continue;
    const svg::HeatMap map{
        .label = "Tokens that change without each layer, " + group.name + "; a table below holds the same",
        .x_title = "layer that is left out",
        .rows = parts,
        .columns = numbers(n, 1),
        .values = group.disagreement,
        .low = 0,
        .high = high};
    figures.push_back(html::figure(html::isolated(group.name), svg::heat_map(map)));
    tables += matrix_table("Tokens that change, " + group.name, "layer", numbers(n, 1), parts,
                           turned(group.disagreement), true);
  }
  if (figures.empty()) return section;
  for (std::string one :
       {stretch_map(utility, utility.positions, "By place in the text, whole layers", "places", high),
        stretch_map(utility, utility.prompts, "By length of the prompt, whole layers", "tokens", high)}) {
    if (!one.empty()) figures.push_back(std::move(one));
  }
  section.body = html::paragraph(
      "One layer, or one half of it, was left out at a time: the share of tokens whose answer changed. A faint cell is "
      "a "
      "layer that this text hardly needs.");
  section.body += svg::ramp_legend("0 % change", percent(high) + " change") + html::grid(figures);
  section.body += html::details("The same as tables", tables);
  return section;
}

Section head_utility_section(const Report& report) {
  Section section{"heads", "What each attention head is worth"};
  section.unmeasured = "Head utility: what happens without each attention head was not measured.";
  const Matrix heads = turned(report.head_utility);  // [heads, layers]
  if (heads.empty()) return section;
  double low = 0, high = 0;
  widen(heads, low, high);
  const bool shares = low >= 0 && high <= 1;
  const size_t n_layers = report.head_utility.size();
  const svg::HeatMap map{.label = "Utility of each attention head; the table below holds the same numbers",
                         .x_title = "layer",
                         .y_title = "head",
                         .rows = numbers(heads.size(), 1),
                         .columns = numbers(n_layers, 1),
                         .values = heads,
                         .low = low,
                         .high = high,
                         .percent = shares};
  section.body = html::paragraph(
      "How much is lost without one attention head. Faint heads could be left out of this text at little cost.");
  section.body += svg::ramp_legend(shares ? percent(low) : number(low), shares ? percent(high) : number(high));
  section.body += html::grid({html::figure("Layers from left to right, heads from top to bottom", svg::heat_map(map))});
  section.body +=
      html::details("The same as a table", matrix_table("Utility of heads", "layer", numbers(n_layers, 1),
                                                        numbers(heads.size(), 1), report.head_utility, shares));
  return section;
}

}  // namespace fathom::report
