// Frame: a chart's plot area, and how series are drawn into it. Private to charts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "charts/canvas.h"
#include "charts/chart.h"
#include "charts/geometry.h"
#include "charts/scale.h"

namespace lockstep::chart_detail {

struct Frame {
  Scale x, y;
  Box plot;
  const Axis& x_axis;
  const Axis& y_axis;
  int columns;           // a line is thinned to so many parts of the x axis
  double hover_spacing;  // pixels between points of a line that have texts
  // Series that must be told apart without colour: lines carry a few markers.
  bool several, several_dashed;

  Pixel at(double px, double py) const { return {x.at(px), y.at(py)}; }
  bool shows(const ChartPoint& point) const {
    return is_drawable(point.x, x_axis.log) && is_drawable(point.y, y_axis.log) && x.contains(point.x) && y.contains(point.y);
  }
};

// A series' colour and marker: indices into the palette.
struct Look {
  int colour = 0, shape = 0;
  std::string colour_class() const { return std::string("c").append(std::to_string(colour)); }
};
Look look_of(const Series& series, int index);

bool has_markers(const Series& series);

// The marks of a series: band, line, whiskers, markers. What a label should not cover is added to `covered`.
void draw_series(Canvas& canvas, const Series& series, const Look& look, const Frame& frame, int index, std::vector<Box>& covered);
// The invisible marks that show values; drawn when everything else is.
void draw_hover(Canvas& canvas, const Series& series, const Look& look, const Frame& frame);
// The points' labels, each where it covers nothing; those without such a place are left out.
void draw_labels(Canvas& canvas, const Series& series, const Frame& frame, std::vector<Box>& covered);

}  // namespace lockstep::chart_detail
