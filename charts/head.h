// What stands above and below a plot: title, subtitle, legend, note. Private to charts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "charts/canvas.h"

namespace lockstep::chart_detail {

inline constexpr double kEdge = 8;        // free pixels at the drawing's border
inline constexpr double kRow = 16;        // height of a line of text
inline constexpr int kLeastWidth = 240, kLeastHeight = 160;

// Title and subtitle, from kEdge downwards. Returns the y below them.
double draw_head(Canvas& canvas, const std::string& title, const std::string& subtitle, double width);

struct LegendItem {
  std::string name;
  int colour = 0, shape = 0;
  bool line = true, dashed = false, marker = false;
};
// In rows from `top` downwards. Returns the y below them.
double draw_legend(Canvas& canvas, const std::vector<LegendItem>& items, double top, double width);

// The note's lines; at most four.
std::vector<std::string> note_lines(const std::string& note, double width);
void draw_note(Canvas& canvas, const std::vector<std::string>& lines, double top);

// For screen readers.
std::string accessible_name(const std::string& title, const std::string& subtitle);

}  // namespace lockstep::chart_detail
