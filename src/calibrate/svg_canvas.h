// What the charts draw with: a frame with axes, and marks that differ in shape as in colour. Next: svg.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/calibrate/svg.h"

namespace fathom::svg {

inline constexpr double kWidth = 360;
inline constexpr int kStyles = 8;

/// Round numbers on an axis, about `wanted` of them.
std::vector<double> ticks(const Axis& axis, int wanted);
/// A number at such a mark: as many decimals as its neighbours need.
std::string tick_text(const Axis& axis, const std::vector<double>& all, double at);

/// `c0` to `c7`.
std::string style_class(int style);

/// A mark of a style's shape.
std::string mark(int style, double x, double y, double radius, bool hollow);

enum class Anchor : uint8_t { start, middle, end };

class Canvas {
 public:
  Canvas(double height, std::string_view label);
  void line(double x0, double y0, double x1, double y1, std::string_view css_class);
  /// An SVG title is what hovering shows; empty: none.
  void rect(double x, double y, double width, double height, std::string_view css_class, std::string_view title = {});
  /// Already escaped text.
  void text(double x, double y, std::string_view escaped, Anchor anchor = Anchor::start,
            std::string_view css_class = "tick");
  void raw(std::string_view svg) { out_ += svg; }
  std::string finish() { return out_ += "</svg>\n"; }

 private:
  std::string out_;
};

/// The rectangle in which data lie, and the way there.
struct Frame {
  double left = 44, top = 24, right = kWidth - 10, bottom = 190;
  Axis x = {}, y = {};

  double at_x(double value) const { return left + (value - x.low) / (x.high - x.low) * (right - left); }
  double at_y(double value) const { return bottom - (value - y.low) / (y.high - y.low) * (bottom - top); }
  bool holds(double vx, double vy) const { return vx >= x.low && vx <= x.high && vy >= y.low && vy <= y.high; }
  void draw(Canvas& canvas) const;
};

/// An axis that has a length.
Axis widened(Axis axis);

}  // namespace fathom::svg
