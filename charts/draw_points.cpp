// What a series says about its points: hover texts and labels.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "charts/chart_text.h"
#include "charts/frame.h"
#include "charts/number_text.h"

namespace lockstep::chart_detail {
namespace {

constexpr double kHoverRadius = 8;
constexpr double kHoverCell = 7;       // pixels: of the points in such a square one has a text
constexpr double kLabelGap = 6;        // from a point to its label
constexpr std::size_t kMostLabels = 60;
constexpr double kLineHeight = kSmallText + 2;

std::string value_text(double value, const Axis& axis) { return axis.percent ? percent_text(value) : number_text(value, 5); }

std::string named(const std::string& title, const std::string& value) { return title.empty() ? value : fmt::format("{}: {}", title, value); }

std::string hover_text(const Series& series, const ChartPoint& point, const Frame& frame) {
  const std::string head = series.name.empty() ? "" : series.name + "\n";
  if (!point.label.empty()) return head + point.label;
  std::string y = named(frame.y_axis.title, value_text(point.y, frame.y_axis));
  if (std::isfinite(point.low) && std::isfinite(point.high))
    y += fmt::format(" ({} to {})", value_text(point.low, frame.y_axis), value_text(point.high, frame.y_axis));
  return fmt::format("{}{}\n{}", head, named(frame.x_axis.title, value_text(point.x, frame.x_axis)), y);
}

// Where a label of this size may go beside a point, best first.
std::array<Box, 6> places_beside(Pixel p, double width) {
  const double h = kLineHeight, gap = kLabelGap;
  const auto box = [&](double left, double top) { return Box{left, top, left + width, top + h}; };
  return {box(p.x - width / 2, p.y - gap - h), box(p.x + gap, p.y - h / 2),       box(p.x - gap - width, p.y - h / 2),
          box(p.x - width / 2, p.y + gap),     box(p.x + gap / 2, p.y - gap - h), box(p.x - gap / 2 - width, p.y - gap - h)};
}

bool is_free(const Box& box, const std::vector<Box>& covered) {
  return std::none_of(covered.begin(), covered.end(), [&](const Box& other) { return box.overlaps(other); });
}

}  // namespace

void draw_hover(Canvas& canvas, const Series& series, const Look& look, const Frame& frame) {
  canvas.open(look.colour_class());
  std::set<std::pair<int, int>> taken;
  const auto draw = [&](const ChartPoint& point) {
    if (!frame.shows(point)) return;
    const Pixel p = frame.at(point.x, point.y);
    if (taken.emplace(static_cast<int>(p.x / kHoverCell), static_cast<int>(p.y / kHoverCell)).second)
      canvas.hover_disc(p, kHoverRadius, hover_text(series, point, frame));
  };
  if (has_markers(series)) {
    for (const ChartPoint& point : series.points) draw(point);
  } else {
    // A line's texts lie side by side; where it goes up and down within a few pixels, one of them is enough.
    double next = frame.plot.left;
    for (const ChartPoint& point : series.points) {
      if (!frame.shows(point)) continue;
      const double x = frame.x.at(point.x);
      const bool is_last = &point == &series.points.back();
      if (x < next && !is_last && next - x < 2 * frame.hover_spacing) continue;
      draw(point);
      next = x + frame.hover_spacing;
    }
  }
  canvas.close();
}

void draw_labels(Canvas& canvas, const Series& series, const Frame& frame, std::vector<Box>& covered) {
  if (!series.label_points || series.points.size() > kMostLabels) return;
  for (const ChartPoint& point : series.points) {
    if (!frame.shows(point) || point.label.empty()) continue;
    const std::string text = point.label.substr(0, point.label.find('\n'));
    const double width = text_width(text, kSmallText);
    for (const Box& place : places_beside(frame.at(point.x, point.y), width)) {
      if (!frame.plot.contains(place) || !is_free(place, covered)) continue;
      canvas.text({(place.left + place.right) / 2, place.bottom - 3}, "o", Anchor::kMiddle, text);
      covered.push_back(place);
      break;
    }
  }
}

}  // namespace lockstep::chart_detail
