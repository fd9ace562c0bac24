// Heat maps, and the keys beside charts.
#include <fmt/format.h>

#include <algorithm>

#include "src/calibrate/html.h"
#include "src/calibrate/svg.h"
#include "src/calibrate/svg_canvas.h"

namespace fathom::svg {

using html::escape;
using html::escape_short;

namespace {

// Every how many names fit, when each needs `room` units.
size_t every(size_t n, double unit, double room) {
  const double wanted = room / std::max(unit, 1e-9);
  return n == 0 ? 1 : std::max<size_t>(1, static_cast<size_t>(wanted + .999));
}

}  // namespace

std::string heat_map(const HeatMap& map) {
  const size_t n_rows = map.rows.size(), n_columns = std::max(map.columns.size(), size_t{1});
  size_t longest = 0;
  for (const std::string& name : map.rows) longest = std::max(longest, name.size());
  const double left = std::clamp(8 + 6.2 * static_cast<double>(longest), 24.0, 96.0);
  const double width = (kWidth - left - 4) / static_cast<double>(n_columns);
  const double height = std::clamp(width, 9.0, 22.0);
  const double top = map.y_title.empty() ? 4 : 16;
  const double bottom = top + height * static_cast<double>(n_rows);
  Canvas canvas(bottom + 36, map.label);
  if (!map.y_title.empty()) canvas.text(2, 9, escape_short(map.y_title, 50), Anchor::start, "title");
  const double range = std::max(map.high - map.low, 1e-12);
  const size_t rows_every = every(n_rows, height, 11), columns_every = every(n_columns, width, 17);
  for (size_t r = 0; r < n_rows; ++r) {
    const double y = top + height * static_cast<double>(r);
    if (r % rows_every == 0) {
      canvas.text(left - 5, y + height / 2 + 3.5, escape_short(map.rows[r], 15), Anchor::end);
    }
    for (size_t c = 0; c < n_columns && r < map.values.size() && c < map.values[r].size(); ++c) {
      const std::optional<double>& value = map.values[r][c];
      const std::string said = !value ? "not measured" : map.percent ? html::percent(value) : html::number(value);
      canvas.rect(left + width * static_cast<double>(c), y, width - .8, height - .8,
                  value ? "cell " + html::ramp_class((*value - map.low) / range) : "cell qx",
                  fmt::format("{}, {}: {}", map.rows[r], c < map.columns.size() ? map.columns[c] : "", said));
    }
  }
  for (size_t c = 0; c < map.columns.size(); c += columns_every) {
    canvas.text(left + width * (static_cast<double>(c) + .5), bottom + 13, escape_short(map.columns[c], 8),
                Anchor::middle);
  }
  canvas.text((left + kWidth) / 2, bottom + 29, escape_short(map.x_title, 50), Anchor::middle, "title");
  return canvas.finish();
}

std::string ramp_legend(const std::string& low, const std::string& high) {
  std::string steps;
  for (int i = 0; i < 10; ++i) steps += fmt::format("<i class=\"q{}\"></i>", i);
  return fmt::format(
      "<p class=\"ramp\"><span>{}</span><span class=\"steps\" aria-hidden=\"true\">{}</span>"
      "<span>{}</span></p>\n",
      escape(low), steps, escape(high));
}

std::string legend(const std::vector<Key>& keys) {
  std::string items;
  for (const Key& key : keys) {
    const std::string css = style_class(key.style);
    std::string sign;
    if (key.mark == Key::Mark::block) {
      sign = fmt::format("<rect class=\"{} fill\" x=\"6\" y=\"1\" width=\"12\" height=\"12\"/>", css);
    } else {
      const bool hollow = key.mark == Key::Mark::hollow;
      if (key.mark != Key::Mark::point) {
        sign = fmt::format("<path class=\"{} line{}\" d=\"M0 7L24 7\"/>", css, hollow ? " dashed" : "");
      }
      sign += mark(key.style, 12, 7, 3.2, hollow);
    }
    items += fmt::format("<li><svg viewBox=\"0 0 24 14\" aria-hidden=\"true\">{}</svg><bdi>{}</bdi></li>", sign,
                         escape(key.name));
  }
  return "<ul class=\"legend\">" + items + "</ul>\n";
}

}  // namespace fathom::svg
