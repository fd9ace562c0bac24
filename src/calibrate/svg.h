// Charts as inline SVG, for any report: plain values in, one <svg> out. Colours are classes of style.css, so that
// light, dark and print are the page's affair; shapes and dashes say the same as colours. Every chart is 360 units
// wide, which a telephone shows at full size. Names are text of any kind and are escaped here. Next: svg.cc,
// svg_bars.cc, svg_cells.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fathom::svg {

struct Axis {
  std::string title = {};
  double low = 0, high = 1;
  bool percent = false;
  bool whole = false;  // marks at whole numbers only
};

struct Point {
  double x = 0, y = 0;
  std::optional<double> low = {}, high = {};  // a band around y
  std::string title = {};                     // what hovering says
  bool chosen = false;
};

/// `style` picks colour, shape and dash; the same number is the same everywhere on a page.
struct Series {
  std::string name = {};
  int style = 0;
  std::vector<Point> points = {};
  bool joined = true;
  bool hollow = false;
};

struct Rule {
  std::string name = {};
  double at = 0;
};

/// Lines with bands. What lies beyond the axes is cut off at the frame.
struct LineChart {
  std::string label = {};  // for those who do not see it
  Axis x = {}, y = {};
  std::vector<Series> series = {};
  std::vector<Rule> rules = {};  // horizontal
  double height = 230;
};
std::string line_chart(const LineChart& chart);

/// How often what was said to be right with probability p was right: before (hollow) and after.
struct ReliabilityBin {
  double p = 0, agreed = 0, n = 0;
};
struct ReliabilityDiagram {
  std::string label = {};
  std::vector<ReliabilityBin> before = {}, after = {};
};
std::string reliability_diagram(const ReliabilityDiagram& diagram);

/// Bars to the right, each with its name above and its value behind.
struct Bar {
  std::string name = {};
  double value = 0;
  std::string shown = {};
  int style = 0;
  bool chosen = false;
};
struct BarChart {
  std::string label = {};
  std::vector<Bar> bars = {};
  double high = 1;
  std::optional<Rule> rule = {};  // vertical
};
std::string bar_chart(const BarChart& chart);

/// One line for each: a value and where it may lie, against a vertical rule.
struct Interval {
  std::string name = {};
  double value = 0, low = 0, high = 0;
  std::string shown = {};
  int style = 0;
  bool chosen = false;
};
struct IntervalChart {
  std::string label = {};
  Axis x = {};
  std::vector<Interval> rows = {};
  Rule rule = {};
};
std::string interval_chart(const IntervalChart& chart);

/// Columns of counts, one part on the other.
struct StackedHistogram {
  std::string label = {}, x_title = {}, y_title = {};
  std::vector<std::string> bins = {};
  struct Part {
    std::string name = {};
    int style = 0;
    std::vector<double> counts = {};  // [bins]
  };
  std::vector<Part> parts = {};
  bool percent = true;
};
std::string stacked_histogram(const StackedHistogram& histogram);

struct HeatMap {
  std::string label = {}, x_title = {}, y_title = {};
  std::vector<std::string> rows = {}, columns = {};
  std::vector<std::vector<std::optional<double>>> values = {};  // [rows, columns]; null: not measured
  double low = 0, high = 1;
  bool percent = true;
};
std::string heat_map(const HeatMap& map);

/// The ramp with what its ends mean, as HTML.
std::string ramp_legend(const std::string& low, const std::string& high);
/// Marks and names of series, as HTML.
struct Key {
  std::string name = {};
  int style = 0;
  enum class Mark : uint8_t { line, point, hollow, block } mark = Mark::line;
};
std::string legend(const std::vector<Key>& keys);

}  // namespace fathom::svg
