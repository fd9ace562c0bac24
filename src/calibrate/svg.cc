// The canvas, axes, line charts and reliability diagrams. Next: svg_bars.cc.
#include "src/calibrate/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/calibrate/html.h"
#include "src/calibrate/svg_canvas.h"

namespace fathom::svg {

using html::escape;
using html::escape_short;

std::vector<double> ticks(const Axis& axis, int wanted) {
  const double rough = (axis.high - axis.low) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double round : {5.0, 2.5, 2.0, 1.0}) {
    if (round * power >= rough) step = round * power;
  }
  if (axis.whole) step = std::max(std::ceil(step), 1.0);
  std::vector<double> marks;
  const double first = std::ceil(axis.low / step - 1e-9);
  for (int i = 0; i < 4 * wanted; ++i) {
    const double at = (first + i) * step;
    if (at > axis.high + step * 1e-6) break;
    marks.push_back(std::abs(at) < step * 1e-6 ? 0 : at);
  }
  return marks;
}

std::string tick_text(const Axis& axis, const std::vector<double>& all, double at) {
  const double scale = axis.percent ? 100 : 1;
  const double step = all.size() > 1 ? (all[1] - all[0]) * scale : 1;
  int decimals = 0;
  for (double s = step; decimals < 6 && std::abs(s - std::round(s)) > 1e-6 * std::max(s, 1e-3); s *= 10) ++decimals;
  return fmt::format("{:.{}f}{}", at * scale, decimals, axis.percent ? "%" : "");
}

std::string style_class(int style) { return fmt::format("c{}", ((style % kStyles) + kStyles) % kStyles); }

std::string mark(int style, double x, double y, double r, bool hollow) {
  const std::string css = style_class(style) + (hollow ? " hollow" : " mark");
  const auto path = [&](std::initializer_list<std::pair<double, double>> corners) {
    std::string d;
    for (const auto& [dx, dy] : corners) d += fmt::format("{}{:.1f} {:.1f}", d.empty() ? "M" : "L", x + dx, y + dy);
    return fmt::format("<path class=\"{}\" d=\"{}Z\"/>", css, d);
  };
  switch (((style % kStyles) + kStyles) % kStyles % 6) {
    case 1:
      return path({{-r, -r}, {r, -r}, {r, r}, {-r, r}});
    case 2:
      return path({{0, -1.2 * r}, {1.2 * r, r}, {-1.2 * r, r}});
    case 3:
      return path({{0, -1.4 * r}, {1.4 * r, 0}, {0, 1.4 * r}, {-1.4 * r, 0}});
    case 4:
      return path({{-1.2 * r, -r}, {1.2 * r, -r}, {0, 1.2 * r}});
    case 5:
      return path({{-1.5 * r, -.6 * r}, {1.5 * r, -.6 * r}, {1.5 * r, .6 * r}, {-1.5 * r, .6 * r}});
    default:
      return fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"/>", css, x, y, 1.1 * r);
  }
}

Canvas::Canvas(double height, std::string_view label) {
  out_ =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">", kWidth, height, escape(label));
}

void Canvas::line(double x0, double y0, double x1, double y1, std::string_view css_class) {
  out_ += fmt::format("<path class=\"{}\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>", css_class, x0, y0, x1, y1);
}

void Canvas::rect(double x, double y, double width, double height, std::string_view css_class, std::string_view title) {
  out_ += fmt::format("<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"", css_class, x,
                      y, std::max(width, 0.0), std::max(height, 0.0));
  out_ += title.empty() ? "/>" : fmt::format("><title>{}</title></rect>", escape(title));
}

void Canvas::text(double x, double y, std::string_view escaped, Anchor anchor, std::string_view css_class) {
  constexpr const char* kAnchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
  out_ += fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>", css_class, x, y,
                      kAnchors[static_cast<size_t>(anchor)], escaped);
}

Axis widened(Axis axis) {
  const double least = std::max({std::abs(axis.low), std::abs(axis.high), 1e-6}) * 1e-6;
  if (axis.high - axis.low < least) axis.high = axis.low + std::max(std::abs(axis.low), 1.0);
  return axis;
}

void Frame::draw(Canvas& canvas) const {
  const std::vector<double> ys = ticks(y, 4), xs = ticks(x, 5);
  for (const double v : ys) {
    canvas.line(left, at_y(v), right, at_y(v), "grid-line");
    canvas.text(left - 5, at_y(v) + 3.5, tick_text(y, ys, v), Anchor::end);
  }
  for (const double v : xs) {
    canvas.line(at_x(v), bottom, at_x(v), bottom + 4, "axis");
    canvas.text(at_x(v), bottom + 15, tick_text(x, xs, v), Anchor::middle);
  }
  canvas.line(left, bottom, right, bottom, "axis");
  canvas.text((left + right) / 2, bottom + 31, escape_short(x.title, 56), Anchor::middle, "title");
  canvas.text(2, 10, escape_short(y.title, 56), Anchor::start, "title");
}

namespace {

// Points of a series from left to right, and their bands.
void draw_series(const Series& series, const Frame& frame, std::string& inside, std::string& marks) {
  std::vector<Point> points = series.points;
  std::stable_sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
  std::string line, band;
  const std::string css = style_class(series.style);
  const auto at = [&](double x, double y) { return fmt::format("{:.1f} {:.1f}", frame.at_x(x), frame.at_y(y)); };
  const auto go_on = [&](std::string& path, double x, double y) {
    path.append(path.empty() ? "M" : "L").append(at(x, y));
  };
  for (const Point& p : points) {
    go_on(line, p.x, p.y);
    if (p.high) go_on(band, p.x, *p.high);
    if (p.high && !series.joined) {
      inside +=
          fmt::format("<path class=\"{} line\" d=\"M{}L{}\"/>", css, at(p.x, p.low.value_or(p.y)), at(p.x, *p.high));
    }
  }
  for (auto p = points.rbegin(); p != points.rend(); ++p) {
    if (p->high) go_on(band, p->x, p->low.value_or(p->y));
  }
  if (series.joined && points.size() > 1) {
    if (!band.empty()) inside += fmt::format("<path class=\"{} band\" d=\"{}Z\"/>", css, band);
    inside += fmt::format("<path class=\"{} line{}\" d=\"{}\"/>", css, series.hollow ? " dashed" : "", line);
  }
  for (const Point& p : points) {
    if (!frame.holds(p.x, p.y)) continue;
    const double x = frame.at_x(p.x), y = frame.at_y(p.y);
    marks += fmt::format("<g><title>{}</title>", escape(p.title.empty() ? series.name : p.title));
    marks += mark(series.style, x, y, 3.2, series.hollow);
    if (p.chosen) marks += fmt::format("<circle class=\"ring\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"8\"/>", x, y);
    marks += "</g>";
  }
}

// How much of the lines runs through the place of a rule's name: above the rule, `from` to `to`.
int crowd(const LineChart& chart, const Frame& frame, double rule_y, double from, double to) {
  constexpr int kSteps = 16;
  int inside = 0;
  for (const Series& series : chart.series) {
    for (size_t i = 0; i < series.points.size(); ++i) {
      const Point& p = series.points[i];
      const Point& next = series.joined && i + 1 < series.points.size() ? series.points[i + 1] : p;
      for (int step = 0; step < kSteps; ++step) {
        const double part = static_cast<double>(step) / kSteps;
        const double x = frame.at_x(p.x + part * (next.x - p.x)), y = frame.at_y(p.y + part * (next.y - p.y));
        inside += x >= from && x <= to && y <= rule_y + 3 && y >= rule_y - 15 ? 1 : 0;
      }
    }
  }
  return inside;
}

void draw_rule(const LineChart& chart, const Frame& frame, const Rule& rule, Canvas& canvas) {
  if (rule.at < frame.y.low || rule.at > frame.y.high) return;
  constexpr double kName = 84;
  const double y = frame.at_y(rule.at);
  const bool right = crowd(chart, frame, y, frame.right - kName, frame.right) <=
                     crowd(chart, frame, y, frame.left, frame.left + kName);
  canvas.line(frame.left, y, frame.right, y, "rule");
  canvas.text(right ? frame.right : frame.left + 4, y - 4, escape_short(rule.name, 40),
              right ? Anchor::end : Anchor::start, "rule-text");
}

}  // namespace

std::string line_chart(const LineChart& chart) {
  Canvas canvas(chart.height, chart.label);
  Frame frame{.bottom = chart.height - 40, .x = widened(chart.x), .y = widened(chart.y)};
  frame.draw(canvas);
  std::string inside, marks;
  for (const Series& series : chart.series) draw_series(series, frame, inside, marks);
  const auto shift = fmt::format("{:.1f} {:.1f} {:.1f} {:.1f}", frame.left, frame.top, frame.right - frame.left,
                                 frame.bottom - frame.top);
  canvas.raw(fmt::format("<svg x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" viewBox=\"{}\">{}</svg>",
                         frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top, shift, inside));
  for (const Rule& rule : chart.rules) draw_rule(chart, frame, rule, canvas);
  canvas.raw(marks);
  return canvas.finish();
}

std::string reliability_diagram(const ReliabilityDiagram& diagram) {
  Canvas canvas(250, diagram.label);
  Axis x{.title = "agreement that was predicted", .percent = true};
  Axis y{.title = "agreement that was seen", .percent = true};
  const Frame frame{.bottom = 210, .x = x, .y = y};
  frame.draw(canvas);
  double most = 0;
  for (const ReliabilityBin& bin : diagram.after) most = std::max(most, bin.n);
  for (const ReliabilityBin& bin : diagram.after) {  // how many there are of each, along the bottom
    const double height = most > 0 ? 34 * bin.n / most : 0;
    if (height >= 0.3) canvas.rect(frame.at_x(bin.p) - 5, frame.bottom - height, 10, height, "rug");
  }
  canvas.line(frame.at_x(0), frame.at_y(0), frame.at_x(1), frame.at_y(1), "rule");
  const auto series = [](const char* name, int style, const std::vector<ReliabilityBin>& bins, bool hollow) {
    Series s{.name = name, .style = style, .hollow = hollow};
    for (const ReliabilityBin& bin : bins) {
      s.points.push_back({.x = bin.p,
                          .y = bin.agreed,
                          .title = fmt::format("{}: predicted {}, seen {}, {} tokens", name, html::percent(bin.p),
                                               html::percent(bin.agreed), html::number(bin.n))});
    }
    return s;
  };
  std::string inside, marks;
  draw_series(series("confidence", 1, diagram.before, true), frame, inside, marks);
  draw_series(series("agreement", 0, diagram.after, false), frame, inside, marks);
  canvas.raw(inside);
  canvas.raw(marks);
  return canvas.finish();
}

}  // namespace fathom::svg
