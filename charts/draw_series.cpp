// The marks of a series.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "charts/frame.h"

namespace lockstep::chart_detail {
namespace {

constexpr double kMarkerRadius = 3.6;
constexpr double kMarkerCell = 3;       // pixels: of the points in such a square one marker is drawn
constexpr double kSparseSpacing = 120;  // pixels between the markers of a line
constexpr double kWhiskerCap = 3;

using Run = std::vector<const ChartPoint*>;

// Stretches of neighbouring points that can be drawn.
std::vector<Run> runs_of(const Series& series, const Frame& frame) {
  std::vector<Run> runs;
  bool joined = false;
  for (const ChartPoint& point : series.points) {
    const bool good = is_drawable(point.x, frame.x_axis.log) && is_drawable(point.y, frame.y_axis.log);
    if (good && !joined) runs.emplace_back();
    if (good) runs.back().push_back(&point);
    joined = good;
  }
  return runs;
}

std::vector<Pixel> pixels_of(const Run& run, const Frame& frame, bool steps) {
  std::vector<Pixel> pixels;
  for (const ChartPoint* point : run) {
    const Pixel p = frame.at(point->x, point->y);
    if (steps && !pixels.empty()) pixels.push_back({p.x, pixels.back().y});
    pixels.push_back(p);
  }
  return pixels;
}

// "M..L..": what of the polyline lies inside the plot.
std::string polyline(const std::vector<Pixel>& points, const Box& plot) {
  std::string d, last;
  for (std::size_t i = 0; i + 1 < points.size(); ++i) {
    const auto segment = clip(points[i], points[i + 1], plot);
    if (!segment) continue;
    const std::string from = at(segment->first), to = at(segment->second);
    if (from != last) d.append("M").append(from);
    if (to != from || from != last) d.append("L").append(to);
    last = to;
  }
  return d;
}

bool has_spread(const ChartPoint& point, const Frame& frame) {
  return is_drawable(point.low, frame.y_axis.log) && is_drawable(point.high, frame.y_axis.log);
}

// The area from low to high: in each column of pixels the lowest low and the highest high.
std::string band(const Run& run, const Frame& frame) {
  std::vector<Pixel> upper, lower;
  const double step = frame.plot.width() / frame.columns;
  for (const ChartPoint* point : run) {
    if (!has_spread(*point, frame) || !frame.x.contains(point->x)) continue;
    const double x = frame.x.at(point->x), top = frame.y.at(frame.y.clamp(point->high)), bottom = frame.y.at(frame.y.clamp(point->low));
    if (!upper.empty() && std::floor(x / step) == std::floor(upper.back().x / step)) {
      upper.back().y = std::min(upper.back().y, top);
      lower.back().y = std::max(lower.back().y, bottom);
    } else {
      upper.push_back({x, top});
      lower.push_back({x, bottom});
    }
  }
  if (upper.size() < 2) return "";
  std::string d;
  for (const Pixel& p : upper) d.append(d.empty() ? "M" : "L").append(at(p));
  for (auto p = lower.rbegin(); p != lower.rend(); ++p) d.append("L").append(at(*p));
  return d + "z";
}

std::string whiskers(const Series& series, const Frame& frame) {
  std::string d;
  for (const ChartPoint& point : series.points) {
    if (!frame.shows(point) || !has_spread(point, frame)) continue;
    const double x = frame.x.at(point.x);
    const double left = std::max(x - kWhiskerCap, frame.plot.left), right = std::min(x + kWhiskerCap, frame.plot.right);
    const double top = frame.y.at(frame.y.clamp(point.high)), bottom = frame.y.at(frame.y.clamp(point.low));
    d += fmt::format("M{0} {1}V{2}M{3} {1}H{4}M{3} {2}H{4}", coordinate(x), coordinate(top), coordinate(bottom), coordinate(left), coordinate(right));
  }
  return d;
}

Box around(Pixel p, double radius) { return {p.x - radius, p.y - radius, p.x + radius, p.y + radius}; }

// A line as small boxes along it.
void cover_line(const std::vector<Pixel>& line, const Box& plot, std::vector<Box>& covered) {
  constexpr double kSpacing = 5;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (plot.contains(line[i])) covered.push_back(around(line[i], 1));
    const auto part = i + 1 < line.size() ? clip(line[i], line[i + 1], plot) : std::nullopt;
    if (!part) continue;
    const auto& [from, to] = *part;
    const double length = std::hypot(to.x - from.x, to.y - from.y);
    for (double at = kSpacing; at < length; at += kSpacing)
      covered.push_back(around({from.x + (to.x - from.x) * at / length, from.y + (to.y - from.y) * at / length}, 1));
  }
}

// Places of markers: all points, one for each small square.
std::vector<Pixel> all_places(const Series& series, const Frame& frame) {
  std::vector<Pixel> places;
  std::set<std::pair<int, int>> taken;
  for (const ChartPoint& point : series.points) {
    if (!frame.shows(point)) continue;
    const Pixel p = frame.at(point.x, point.y);
    if (taken.emplace(static_cast<int>(p.x / kMarkerCell), static_cast<int>(p.y / kMarkerCell)).second) places.push_back(p);
  }
  return places;
}

// Of a line: a few, in other places than the lines beside it; and points that no line reaches.
std::vector<Pixel> sparse_places(const Series& series, const Frame& frame, int index) {
  std::vector<Pixel> places;
  const bool told_apart = series.dashed ? frame.several_dashed : frame.several;
  double next = frame.plot.left + 30 + 37 * (index % kPalette);
  const std::vector<Run> runs = runs_of(series, frame);
  for (const Run& run : runs) {
    for (const ChartPoint* point : run) {
      const Pixel p = frame.at(point->x, point->y);
      const bool due = told_apart && p.x >= next && run.size() > 1;
      if (!frame.shows(*point) || !(due || run.size() == 1)) continue;
      places.push_back(p);
      if (due) next = std::max(next + kSparseSpacing, p.x + kSparseSpacing / 2);
    }
  }
  if (places.empty() && told_apart && !runs.empty()) {  // a short line
    const ChartPoint& last = *runs.back().back();
    if (frame.shows(last)) places.push_back(frame.at(last.x, last.y));
  }
  return places;
}

}  // namespace

Look look_of(const Series& series, int index) {
  const int colour = series.colour >= 0 ? series.colour : index;
  return {colour % kPalette, colour % kPalette};
}

bool has_markers(const Series& series) { return series.style == Series::Style::kPoints || series.style == Series::Style::kLineAndPoints; }

void draw_series(Canvas& canvas, const Series& series, const Look& look, const Frame& frame, int index, std::vector<Box>& covered) {
  canvas.open(look.colour_class());
  std::string line;
  for (const Run& run : runs_of(series, frame)) {
    if (!has_markers(series)) canvas.path(band(run, frame), "b");
    if (series.style == Series::Style::kPoints) continue;
    const std::vector<Pixel> pixels = thin(pixels_of(run, frame, series.style == Series::Style::kSteps), frame.plot, frame.columns);
    line += polyline(pixels, frame.plot);
    cover_line(pixels, frame.plot, covered);
  }
  canvas.path(line, series.dashed ? "l d" : "l");
  if (has_markers(series)) canvas.path(whiskers(series, frame), "w");
  std::string markers;
  for (const Pixel& p : has_markers(series) ? all_places(series, frame) : sparse_places(series, frame, index)) {
    markers += Canvas::marker(look.shape, p, kMarkerRadius);
    covered.push_back(around(p, kMarkerRadius));
  }
  canvas.path(markers, "m");
  canvas.close();
}

}  // namespace lockstep::chart_detail
