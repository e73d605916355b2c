// The SVG of a chart with or without its own style (a page has the style once) and texts to point at (a telephone can't). Private to
// charts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "charts/chart.h"

namespace lockstep::chart_detail {

std::string draw(const Chart& chart, bool with_style, bool with_hover);
std::string draw(const Heatmap& map, bool with_style, bool with_hover);

}  // namespace lockstep::chart_detail
