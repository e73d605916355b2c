// Chart: a diagram as data, and its SVG. No script in it, no font or file from elsewhere: it shows in a browser without a
// network, in print and in black and white (series differ by colour and marker, and a dashed line is a prediction or a bound; the
// colours are Okabe and Ito's, safe for the colour-blind). Points have a <title>, which browsers show on hover.
//
// Pure functions: the same chart gives the same bytes. Values beyond +-1e300 count as not finite (on a logarithmic axis also those
// below 1e-300). A long line is thinned: of each pixel column (wider ones where there are more than three series) at most the first,
// lowest, highest and last point are drawn, which looks the same.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace lockstep {

struct Axis {
  std::string title;            // with its unit: "images/s"
  bool log = false;             // then values that are not positive are left out, and counted in a note; ticks are decades, or
                                // powers of two where all values are (batch sizes)
  std::optional<double> min, max;  // absent: from the data, rounded outwards
  bool percent = false;         // values are shares: 0.93 reads "93 %"
};

struct ChartPoint {
  double x = 0, y = 0;
  double low = std::numeric_limits<double>::quiet_NaN();   // spread: a whisker (points) or a band (lines) from low to high
  double high = std::numeric_limits<double>::quiet_NaN();
  std::string label;            // the hover text, of any number of lines; empty: x and y
};

struct Series {
  enum class Style : std::uint8_t { kLine, kPoints, kLineAndPoints, kSteps };
  std::string name;             // for the legend; empty: not in it
  Style style = Style::kLine;
  std::vector<ChartPoint> points;  // a point that is not finite breaks the line
  bool dashed = false;          // predictions, bounds
  int colour = -1;              // index into the palette; -1: the next one
  bool label_points = false;    // writes the labels' first lines beside the points, where there is room
};

// A line across the whole chart: "target 93 %".
struct Rule {
  std::string label;
  double value = 0;
  bool vertical = false;
};

struct Chart {
  std::string title, subtitle;
  Axis x, y;
  std::vector<Series> series;
  std::vector<Rule> rules;
  std::string note;             // small, below the chart
  int width = 720, height = 420;  // CSS pixels, at least 240 x 160; the SVG scales, and is higher where the legend is long
};

// A grid of values, coloured; rows from top to bottom. NaN: an empty cell.
struct Heatmap {
  std::string title, x_title, y_title, value_title;
  std::vector<std::string> columns, rows;
  std::vector<double> values;   // row by row
  std::vector<std::string> labels;  // text of the cells; empty: the values
  bool low_is_good = false;     // which end of the colours is the good one
  int width = 720, height = 420;
};

// An <svg> element, self-contained, with role="img" and an accessible name; all text escaped. A chart without a point that can be
// shown says so in its middle. In a page with the same style (charts/page.h) it follows the page's light or dark colours.
std::string svg(const Chart& chart);
std::string svg(const Heatmap& map);

// The chart as text for a terminal, `width` columns wide (at least 40): axes, one character per series, a legend.
std::string text_chart(const Chart& chart, int width = 100, int height = 20);

// Writes `text` to a file: aside, then renamed; what is no plain file (/dev/stdout) is written to as it is. Throws EnvironmentError
// (kCantCreate) naming the path.
void write_page(const std::string& path, const std::string& text);

}  // namespace lockstep
