// The SVG of charts: well-formed, inside its view box, the same each time, and true to the data.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "charts/canvas.h"
#include "charts/chart.h"
#include "tests/charts/gallery.h"
#include "tests/charts/xml_check.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kWidths[] = {720, 344, 1, 240};

int count_of(const std::string& text, const std::string& word) {
  int count = 0;
  for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + word.size())) ++count;
  return count;
}

std::vector<std::string> texts_of(const std::string& drawing) {
  std::vector<std::string> texts;
  for (const XmlElement& element : parse_xml(drawing))
    if (element.name == "text") texts.push_back(element.text);
  return texts;
}

// The elements of a class.
std::vector<XmlElement> of_class(const std::string& drawing, const std::string& name) {
  std::vector<XmlElement> found;
  for (const XmlElement& element : parse_xml(drawing)) {
    const auto classes = element.attributes.find("class");
    if (classes != element.attributes.end() && (" " + classes->second + " ").find(" " + name + " ") != std::string::npos) found.push_back(element);
  }
  return found;
}

TEST(XmlCheck, RefusesWhatIsNotWellFormed) {
  for (const char* bad :
       {"<a>", "<a></b>", "<a b=c/>", "<a b=\"1\" b=\"2\"/>", "<a>&nbsp;</a>", "<a><b></a></b>", "<a/><a/>", "<a>\x01</a>", "<a b=\"<\"/>"})
    EXPECT_THROW(parse_xml(bad), std::runtime_error) << bad;
  EXPECT_THROW(path_points("M1 nan"), std::runtime_error);
  EXPECT_THROW(path_points("Q1 2 3 4"), std::runtime_error);
  EXPECT_NE(outside_view_box(parse_xml("<svg viewBox=\"0 0 10 10\"><path d=\"M1 1l20 0\"/></svg>")), "");
}

TEST(Svg, IsWellFormedInsideItsViewBoxAndTheSameEachTime) {
  for (const auto& [name, chart] : chart_gallery()) {
    for (const int width : kWidths) {
      Chart sized = chart;
      sized.width = width;
      sized.height = width;
      const std::string drawing = svg(sized);
      SCOPED_TRACE(name + " at " + std::to_string(width));
      std::vector<XmlElement> elements;
      ASSERT_NO_THROW(elements = parse_xml(drawing));
      EXPECT_EQ(elements[0].attributes.at("role"), "img");
      EXPECT_EQ(outside_view_box(elements), "");
      EXPECT_EQ(svg(sized), drawing);
      EXPECT_THAT(drawing, Not(HasSubstr("nan")));
      EXPECT_THAT(drawing, Not(HasSubstr("inf\"")));
    }
  }
}

TEST(Svg, HeatmapsAreWellFormedToo) {
  for (const auto& [name, map] : heatmap_gallery()) {
    for (const int width : kWidths) {
      Heatmap sized = map;
      sized.width = width;
      const std::string drawing = svg(sized);
      SCOPED_TRACE(name + " at " + std::to_string(width));
      std::vector<XmlElement> elements;
      ASSERT_NO_THROW(elements = parse_xml(drawing));
      EXPECT_EQ(outside_view_box(elements), "");
      EXPECT_EQ(svg(sized), drawing);
    }
  }
}

TEST(Svg, ChartWithoutPointsSaysSo) {
  EXPECT_THAT(svg(chart_gallery()[0].chart), HasSubstr("no data"));
  Chart nothing_to_show{.series = {{.name = "a", .points = {{.x = std::nan(""), .y = 1}, {.x = 1, .y = std::nan("")}}}}};
  EXPECT_THAT(svg(nothing_to_show), HasSubstr("no data"));
  EXPECT_THAT(svg(chart_gallery()[1].chart), Not(HasSubstr("no data")));
}

TEST(Svg, NotFinitePointBreaksTheLine) {
  Chart chart{.series = {{.name = "", .points = {{.x = 0, .y = 0}, {.x = 1, .y = 1}, {.x = 2, .y = 0}, {.x = 3, .y = 1}}}}};
  const auto pieces = [](const Chart& drawn) { return count_of(of_class(svg(drawn), "l").at(0).attributes.at("d"), "M"); };
  EXPECT_EQ(pieces(chart), 1);
  chart.series[0].points.insert(chart.series[0].points.begin() + 2, {.x = 1.5, .y = std::nan("")});
  EXPECT_EQ(pieces(chart), 2);
}

TEST(Svg, LogAxisCountsWhatItLeavesOut) {
  const Chart chart{
      .x = {.log = true},
      .y = {.log = true},
      .series = {{.name = "", .points = {{.x = 0, .y = 1}, {.x = -3, .y = 1}, {.x = 1, .y = 0}, {.x = 1, .y = 2}, {.x = std::nan(""), .y = 2}}}}};
  EXPECT_THAT(svg(chart), HasSubstr("3 points are left out"));
}

TEST(Svg, LongLineIsThinnedAndKeepsItsPeaks) {
  Chart chart{.series = {noisy_curve("a", 10000, 2)}};
  chart.series[0].points[4321].y = 9;
  chart.series[0].points[7654].y = -5;
  const std::string drawing = svg(chart);
  const auto points = path_points(of_class(drawing, "l").back().attributes.at("d"));  // the first is the legend's
  EXPECT_LT(points.size(), 4U * 720);
  EXPECT_GT(points.size(), 720U);
  const auto [top, bottom] = std::minmax_element(points.begin(), points.end(), [](const DrawnPoint& a, const DrawnPoint& b) { return a.y < b.y; });
  const auto frame = path_points(of_class(drawing, "a").back().attributes.at("d"));  // top left, bottom left, bottom right
  const double plot_height = frame[1].y - frame[0].y;
  EXPECT_LT(top->y - frame[0].y, 0.15 * plot_height);     // 9 of an axis from -5 or less to 10 or so
  EXPECT_GT(bottom->y - frame[0].y, 0.9 * plot_height);   // -5
  EXPECT_LT(drawing.size(), 100'000U);
}

TEST(Svg, PointsHaveHoverTexts) {
  const Chart chart{.x = {.title = "epoch"},
                    .y = {.title = "top-1", .percent = true},
                    .series = {{.name = "run a",
                                .style = Series::Style::kPoints,
                                .points = {{.x = 3, .y = 0.931, .low = 0.92, .high = 0.94}, {.x = 60, .y = 0.5, .label = "my own words"}}}}};
  const std::string drawing = svg(chart);
  EXPECT_THAT(drawing, HasSubstr("<title>run a\nepoch: 3\ntop-1: 93.10 % (92.00 % to 94.00 %)</title>"));
  EXPECT_THAT(drawing, HasSubstr("<title>run a\nmy own words</title>"));
}

TEST(Svg, PredictionsAreDashedAndSeriesDifferByMarker) {
  const Chart chart{.series = {{.name = "a", .style = Series::Style::kLineAndPoints, .points = {{.x = 0, .y = 1}, {.x = 1, .y = 2}}},
                               {.name = "b", .style = Series::Style::kLine, .points = {{.x = 0, .y = 2}, {.x = 1, .y = 3}}, .dashed = true}}};
  const std::string drawing = svg(chart);
  EXPECT_EQ(of_class(drawing, "d").size(), 2U);  // the line and its sample in the legend
  std::vector<std::string> shapes;
  for (const XmlElement& marker : of_class(drawing, "m"))
    shapes.push_back(marker.attributes.at("d").substr(marker.attributes.at("d").find_first_of("alh")));
  ASSERT_GE(shapes.size(), 2U);
  EXPECT_NE(shapes[0], shapes[1]);
}

TEST(Svg, MarkersAreAllDifferent) {
  std::set<std::string> shapes;
  for (int shape = 0; shape < chart_detail::kPalette; ++shape) shapes.insert(chart_detail::Canvas::marker(shape, {0, 0}, 4));
  EXPECT_EQ(shapes.size(), static_cast<std::size_t>(chart_detail::kPalette));
}

TEST(Svg, SpreadIsABandOfLinesAndAWhiskerOfPoints) {
  Chart chart{
      .series = {
          {.name = "", .style = Series::Style::kLine, .points = {{.x = 0, .y = 1, .low = 0, .high = 2}, {.x = 1, .y = 2, .low = 1, .high = 3}}}}};
  EXPECT_EQ(of_class(svg(chart), "b").size(), 1U);
  EXPECT_EQ(of_class(svg(chart), "w").size(), 0U);
  chart.series[0].style = Series::Style::kPoints;
  EXPECT_EQ(of_class(svg(chart), "b").size(), 0U);
  EXPECT_EQ(of_class(svg(chart), "w").size(), 1U);
}

TEST(Svg, RulesAreDrawnAndLabelledAndWidenTheAxis) {
  const Chart chart{.series = {{.name = "", .points = {{.x = 0, .y = 0.5}, {.x = 1, .y = 0.6}}}},
                    .rules = {{.label = "target", .value = 0.93}, {.label = "here", .value = 0.5, .vertical = true}}};
  const std::string drawing = svg(chart);
  EXPECT_EQ(of_class(drawing, "r").size(), 2U);
  EXPECT_THAT(texts_of(drawing), ::testing::IsSupersetOf({"target", "here"}));
}

TEST(Svg, LegendStandsAboveThePlot) {
  for (const auto& [name, chart] : chart_gallery()) {
    const std::string drawing = svg(chart);
    const double top = path_points(of_class(drawing, "a").back().attributes.at("d"))[0].y;
    for (const XmlElement& element : parse_xml(drawing)) {
      const bool in_legend = element.name == "text" && std::any_of(chart.series.begin(), chart.series.end(), [&](const Series& series) {
                               return !series.name.empty() && series.name == element.text;
                             });
      if (in_legend) {
        EXPECT_LT(std::stod(element.attributes.at("y")), top) << name << ": " << element.text;
      }
    }
  }
}

TEST(Svg, BatchSizesHaveTicksAtPowersOfTwo) {
  Chart chart{.x = {.log = true}, .series = {{.name = "", .points = {}}}};
  for (int batch = 64; batch <= 8192; batch *= 2) chart.series[0].points.push_back({.x = static_cast<double>(batch), .y = 1.0 / batch});
  EXPECT_THAT(texts_of(svg(chart)), ::testing::IsSupersetOf({"64", "128", "1,024", "8,192"}));
  chart.series[0].points.push_back({.x = 100, .y = 0});
  EXPECT_THAT(texts_of(svg(chart)), ::testing::IsSupersetOf({"100", "1,000"}));
}

TEST(Svg, AllTextIsEscaped) {
  for (const auto& [name, chart] : chart_gallery()) EXPECT_THAT(svg(chart), Not(HasSubstr("<script"))) << name;
}

TEST(Svg, HeatmapFramesTheBestAndLeavesUnknownCellsEmpty) {
  const std::string drawing = svg(heatmap_gallery()[0].map);
  EXPECT_EQ(of_class(drawing, "x").size(), 1U);
  EXPECT_THAT(drawing, HasSubstr("\u2264 "));  // the colours end before the value that is far off
  int empty = 0;
  for (const XmlElement& element : parse_xml(drawing)) empty += element.name == "rect" && element.attributes.at("fill") == "none";
  const Heatmap map = heatmap_gallery()[0].map;
  EXPECT_EQ(empty, std::count_if(map.values.begin(), map.values.end(), [](double value) { return std::isnan(value); }));
}

}  // namespace
}  // namespace lockstep::testing
