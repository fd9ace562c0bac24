// Charts: what is drawn where, and names of any kind.
#include "src/calibrate/svg.h"

#include <gtest/gtest.h>

#include <string>

#include "src/calibrate/html.h"
#include "src/calibrate/svg_canvas.h"

namespace fathom {
namespace {

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Svg, TicksAreRoundAndInsideTheAxis) {
  const auto at = [](double low, double high) { return svg::ticks({.low = low, .high = high}, 4); };
  EXPECT_EQ(at(0, 1), (std::vector<double>{0, .25, .5, .75, 1}));
  EXPECT_EQ(at(0, 100), (std::vector<double>{0, 25, 50, 75, 100}));
  for (const double high : {1e-6, 0.013, 0.7, 1.0, 19.0, 1e12}) {
    const std::vector<double> marks = at(high / 3, high);
    EXPECT_GE(marks.size(), 2u) << high;
    EXPECT_LE(marks.size(), 8u) << high;
    EXPECT_GE(marks.front(), high / 3 * (1 - 1e-6)) << high;
    EXPECT_LE(marks.back(), high * (1 + 1e-6)) << high;
  }
  for (const double mark : svg::ticks({.low = 0, .high = 3, .whole = true}, 5)) EXPECT_EQ(mark, static_cast<int>(mark));
}

TEST(Svg, TicksHaveTheDecimalsThatTellThemApart) {
  const svg::Axis share{.low = 0, .high = .01, .percent = true};
  EXPECT_EQ(svg::tick_text(share, {0, .0025, .005}, .0025), "0.25%");
  EXPECT_EQ(svg::tick_text(share, {0, .02, .04}, .02), "2%");
  EXPECT_EQ(svg::tick_text({}, {0, .5, 1}, .5), "0.5");
}

TEST(Svg, ALineChartMarksThePointsInsideAndCutsTheRest) {
  svg::LineChart chart{.label = "a <label>", .x = {"x", 0, 1}, .y = {"y", 0, .1}};
  chart.series = {{.name = "one",
                   .points = {{.x = 0, .y = 0}, {.x = .5, .y = .05, .high = .09, .chosen = true}, {.x = 1, .y = 5}}}};
  chart.rules = {{"allowed", .02}, {"far away", 3}};
  const std::string drawn = svg::line_chart(chart);
  EXPECT_TRUE(holds(drawn, "aria-label=\"a &lt;label&gt;\""));
  EXPECT_TRUE(holds(drawn, "cx=\"44.0\" cy=\"190.0\"")) << "the origin";
  EXPECT_TRUE(holds(drawn, "class=\"ring\" cx=\"197.0\" cy=\"107.0\"")) << "the middle, chosen";
  EXPECT_FALSE(holds(drawn, "cx=\"350.0\"")) << "beyond the frame there is no mark";
  EXPECT_TRUE(holds(drawn, "class=\"c0 band\""));
  EXPECT_TRUE(holds(drawn, ">allowed<"));
  EXPECT_FALSE(holds(drawn, "far away"));
}

TEST(Svg, ARulesNameStandsWhereNoLineRuns) {
  svg::LineChart chart{.rules = {{"allowed", .5}}};
  chart.series = {{.points = {{.x = .9, .y = .52}, {.x = 1, .y = .52}}}};
  EXPECT_TRUE(holds(svg::line_chart(chart), "class=\"rule-text\" x=\"48.0\"")) << "the line is on the right";
  chart.series = {{.points = {{.x = 0, .y = .52}, {.x = .1, .y = .52}}}};
  EXPECT_TRUE(holds(svg::line_chart(chart), "class=\"rule-text\" x=\"350.0\"")) << "the line is on the left";
}

TEST(Svg, StylesDifferInShapeAndNotInColourAlone) {
  std::vector<std::string> shapes;
  for (int style = 0; style < 6; ++style) {
    std::string shape = svg::mark(style, 10, 10, 3, false);
    const size_t at = shape.find(svg::style_class(style));
    ASSERT_NE(at, std::string::npos) << shape;
    shape.erase(at, 2);
    for (const std::string& other : shapes) EXPECT_NE(shape, other) << style;
    shapes.push_back(shape);
  }
}

TEST(Svg, AHeatMapHasACellForEachValueAndSaysWhereThereIsNone) {
  const svg::HeatMap map{.rows = {"a", "b"}, .columns = {"1", "2", "3"}, .values = {{0, .5, 1}, {{}, 1}}};
  const std::string drawn = svg::heat_map(map);
  EXPECT_TRUE(holds(drawn, "class=\"cell q0\""));
  EXPECT_TRUE(holds(drawn, "class=\"cell q5\""));
  EXPECT_TRUE(holds(drawn, "class=\"cell q9\""));
  EXPECT_TRUE(holds(drawn, "<title>b, 1: not measured</title>"));
  size_t cells = 0;
  for (size_t at = 0; (at = drawn.find("<rect", at)) != std::string::npos; ++at) ++cells;
  EXPECT_EQ(cells, 5u);
}

TEST(Svg, AStackedHistogramStandsOnTheLowestPart) {
  const svg::StackedHistogram h{.bins = {"1"},
                                .parts = {{"low", 0, {.25}}, {"high", 1, {.75}}, {"too many", 2, {0, 9}}}};
  const std::string drawn = svg::stacked_histogram(h);
  EXPECT_LT(drawn.find("c0 fill"), drawn.find("c1 fill"));
  EXPECT_TRUE(holds(drawn, "low, "));
  EXPECT_FALSE(holds(drawn, "c2 fill")) << "a bin that there is not";
}

TEST(Svg, EmptyChartsAreStillDrawings) {
  for (const std::string& drawn : {svg::line_chart({}), svg::bar_chart({}), svg::interval_chart({}),
                                   svg::stacked_histogram({}), svg::heat_map({}), svg::reliability_diagram({})}) {
    EXPECT_EQ(drawn.rfind("<svg ", 0), 0u);
    EXPECT_TRUE(drawn.ends_with("</svg>\n"));
    EXPECT_FALSE(holds(drawn, "nan")) << drawn;
    EXPECT_FALSE(holds(drawn, "inf")) << drawn;
  }
}

TEST(Html, NumbersAreShortAndHonest) {
  EXPECT_EQ(html::percent(0.0), "0\xE2\x80\xAF%");
  EXPECT_EQ(html::percent(.019), "1.9\xE2\x80\xAF%");
  EXPECT_EQ(html::percent(.0004), "0.04\xE2\x80\xAF%");
  EXPECT_EQ(html::percent(1e-5), "0.001\xE2\x80\xAF%") << "not none";
  EXPECT_EQ(html::percent(.9996), "99.96\xE2\x80\xAF%") << "not all";
  EXPECT_EQ(html::percent(1.0), "100\xE2\x80\xAF%");
  EXPECT_EQ(html::percent({}), "\xE2\x80\x93");
  EXPECT_EQ(html::number(8.123), "8.12");
  EXPECT_EQ(html::number(.0123), "0.0123");
  EXPECT_EQ(html::number(.94), "0.940");
  EXPECT_EQ(html::number(0.0), "0");
  EXPECT_EQ(html::number(123.4), "123");
  EXPECT_EQ(html::number(1e-7), "1e-07");
  EXPECT_EQ(html::count(1234567),
            "1\xE2\x80\xAF"
            "234\xE2\x80\xAF"
            "567");
  EXPECT_EQ(html::count(-12345),
            "-12\xE2\x80\xAF"
            "345");
}

TEST(Html, ShortTextIsCutBetweenCharacters) {
  EXPECT_EQ(html::escape_short("abcd", 4), "abcd");
  EXPECT_EQ(html::escape_short("abcde", 4), "abc\xE2\x80\xA6");
  EXPECT_EQ(html::escape_short("\xC3\xA4\xC3\xB6\xC3\xBC", 2), "\xC3\xA4\xE2\x80\xA6");
  EXPECT_EQ(html::escape_short("<<<<<", 3), "&lt;&lt;\xE2\x80\xA6");
}

}  // namespace
}  // namespace fathom
