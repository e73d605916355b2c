// Points and rectangles of a drawing, in pixels. Private to charts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <utility>
#include <vector>

namespace lockstep::chart_detail {

struct Pixel {
  double x = 0, y = 0;
};

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;

  double width() const { return right - left; }
  double height() const { return bottom - top; }
  bool contains(Pixel p) const { return p.x >= left && p.x <= right && p.y >= top && p.y <= bottom; }
  bool contains(const Box& b) const { return b.left >= left && b.right <= right && b.top >= top && b.bottom <= bottom; }
  bool overlaps(const Box& b) const { return b.left < right && b.right > left && b.top < bottom && b.bottom > top; }
};

// The part of a segment inside a box (Liang and Barsky).
std::optional<std::pair<Pixel, Pixel>> clip(Pixel a, Pixel b, const Box& box);

// Of each run of neighbouring points in one column (`columns` equal parts of the box' width) the first, lowest, highest and last,
// in their order. At most 4 points for each column of a line that goes from left to right.
std::vector<Pixel> thin(const std::vector<Pixel>& points, const Box& box, int columns);

}  // namespace lockstep::chart_detail
