// Bars, intervals and stacked histograms. Next: svg_cells.cc.
#include <fmt/format.h>

#include <algorithm>

#include "src/calibrate/html.h"
#include "src/calibrate/svg.h"
#include "src/calibrate/svg_canvas.h"

namespace fathom::svg {

using html::escape_short;

std::string bar_chart(const BarChart& chart) {
  constexpr double kRow = 32, kRoom = 64;  // for the value behind the bar
  const double above = chart.rule ? 20 : 4;
  const double height = above + kRow * static_cast<double>(chart.bars.size()) + 2;
  Canvas canvas(height, chart.label);
  const double high = std::max(chart.high, 1e-9);
  const auto at = [&](double value) { return 1 + std::clamp(value / high, 0.0, 1.0) * (kWidth - kRoom - 2); };
  double y = above;
  for (const Bar& bar : chart.bars) {
    canvas.text(1, y + 11, escape_short(bar.name, 52), Anchor::start, bar.chosen ? "name strong" : "name");
    canvas.rect(1, y + 16, kWidth - kRoom - 2, 10, "track");
    canvas.rect(1, y + 16, at(bar.value) - 1, 10, style_class(bar.style) + " fill",
                fmt::format("{}: {}", bar.name, bar.shown));
    canvas.text(kWidth - kRoom + 6, y + 25, escape_short(bar.shown, 12), Anchor::start,
                bar.chosen ? "name strong" : "name");
    y += kRow;
  }
  if (chart.rule) {
    const double x = at(chart.rule->at);
    canvas.line(x, above - 2, x, height - 2, "rule");
    canvas.text(x, 11, escape_short(chart.rule->name, 40), x > kWidth / 2 ? Anchor::end : Anchor::start, "rule-text");
  }
  return canvas.finish();
}

std::string interval_chart(const IntervalChart& chart) {
  constexpr double kRow = 20, kNames = 118, kValues = 52;
  const double top = 22, bottom = top + kRow * static_cast<double>(chart.rows.size());
  Canvas canvas(bottom + 36, chart.label);
  const Frame frame{.left = kNames, .top = top, .right = kWidth - kValues, .bottom = bottom, .x = widened(chart.x)};
  const std::vector<double> marks = ticks(frame.x, 4);
  for (const double v : marks) {
    canvas.line(frame.at_x(v), top - 2, frame.at_x(v), bottom, "grid-line");
    canvas.text(frame.at_x(v), bottom + 13, tick_text(frame.x, marks, v), Anchor::middle);
  }
  canvas.text((frame.left + frame.right) / 2, bottom + 29, escape_short(chart.x.title, 50), Anchor::middle, "title");
  const double rule = frame.at_x(std::clamp(chart.rule.at, frame.x.low, frame.x.high));
  canvas.line(rule, top - 6, rule, bottom, "rule");
  canvas.text(rule, 11, escape_short(chart.rule.name, 40), rule > kWidth / 2 ? Anchor::end : Anchor::start,
              "rule-text");
  double y = top + kRow / 2;
  for (const Interval& row : chart.rows) {
    const auto inside = [&](double v) { return frame.at_x(std::clamp(v, frame.x.low, frame.x.high)); };
    const char* const css = row.chosen ? "name strong" : "name";
    if (row.chosen) canvas.rect(0, y - kRow / 2, kWidth, kRow, "chosen-row");
    canvas.text(2, y + 4, escape_short(row.name, 20), Anchor::start, css);
    canvas.line(inside(row.low), y, inside(row.high), y, style_class(row.style) + " whisker");
    canvas.raw(fmt::format("<g><title>{}: {}</title>{}</g>", html::escape(row.name), html::escape(row.shown),
                           mark(row.style, inside(row.value), y, 3.2, false)));
    canvas.text(kWidth - 2, y + 4, escape_short(row.shown, 9), Anchor::end, css);
    y += kRow;
  }
  return canvas.finish();
}

std::string stacked_histogram(const StackedHistogram& histogram) {
  const size_t n = std::max(histogram.bins.size(), size_t{1});
  std::vector<double> sums(n, 0.0);
  for (const auto& part : histogram.parts) {
    for (size_t i = 0; i < std::min(n, part.counts.size()); ++i) sums[i] += part.counts[i];
  }
  const double most = std::max(*std::max_element(sums.begin(), sums.end()), 1e-9);
  Canvas canvas(230, histogram.label);
  Frame frame{.x = {.title = histogram.x_title, .high = static_cast<double>(n)},
              .y = {.title = histogram.y_title, .high = most * 1.04, .percent = histogram.percent}};
  const std::vector<double> ys = ticks(frame.y, 4);
  for (const double v : ys) {
    canvas.line(frame.left, frame.at_y(v), frame.right, frame.at_y(v), "grid-line");
    canvas.text(frame.left - 5, frame.at_y(v) + 3.5, tick_text(frame.y, ys, v), Anchor::end);
  }
  const double width = (frame.right - frame.left) / static_cast<double>(n);
  const auto name = [&](size_t i) { return i < histogram.bins.size() ? histogram.bins[i] : std::string(); };
  const size_t every = (n + 11) / 12;  // names that have room
  for (size_t i = 0; i < n; ++i) {
    double below = 0;
    for (const auto& part : histogram.parts) {
      const double value = i < part.counts.size() ? part.counts[i] : 0;
      if (value <= 0) continue;
      const double top = frame.at_y(below + value);
      canvas.rect(frame.left + width * static_cast<double>(i) + width * .08, top, width * .84, frame.at_y(below) - top,
                  style_class(part.style) + " fill",
                  fmt::format("{}, {} {}: {}", part.name, histogram.x_title, name(i),
                              histogram.percent ? html::percent(value) : html::number(value)));
      below += value;
    }
    const bool last = i + 1 == n;
    if (last || (i % every == 0 && i + (every + 1) / 2 < n)) {
      canvas.text(frame.left + width * (static_cast<double>(i) + .5), frame.bottom + 14, escape_short(name(i), 8),
                  Anchor::middle);
    }
  }
  canvas.line(frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  canvas.text((frame.left + frame.right) / 2, frame.bottom + 31, escape_short(histogram.x_title, 56), Anchor::middle,
              "title");
  canvas.text(2, 10, escape_short(histogram.y_title, 56), Anchor::start, "title");
  return canvas.finish();
}

}  // namespace fathom::svg
