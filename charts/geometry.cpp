// SPDX-License-Identifier: Apache-2.0
#include "charts/geometry.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace lockstep::chart_detail {

std::optional<std::pair<Pixel, Pixel>> clip(Pixel a, Pixel b, const Box& box) {
  const double dx = b.x - a.x, dy = b.y - a.y;
  double begin = 0, end = 1;
  const std::array<std::pair<double, double>, 4> sides{{{-dx, a.x - box.left}, {dx, box.right - a.x}, {-dy, a.y - box.top}, {dy, box.bottom - a.y}}};
  for (const auto& [towards, distance] : sides) {
    if (towards == 0 && distance < 0) return std::nullopt;
    if (towards < 0) begin = std::max(begin, distance / towards);
    if (towards > 0) end = std::min(end, distance / towards);
  }
  if (begin > end) return std::nullopt;
  return std::pair{Pixel{a.x + begin * dx, a.y + begin * dy}, Pixel{a.x + end * dx, a.y + end * dy}};
}

std::vector<Pixel> thin(const std::vector<Pixel>& points, const Box& box, int columns) {
  std::vector<Pixel> kept;
  const double per_pixel = columns / std::max(1.0, box.width());
  const auto column = [&](const Pixel& p) { return std::floor((p.x - box.left) * per_pixel); };
  for (std::size_t begin = 0; begin < points.size();) {
    std::size_t end = begin + 1, low = begin, high = begin;
    for (; end < points.size() && column(points[end]) == column(points[begin]); ++end) {
      if (points[end].y < points[low].y) low = end;
      if (points[end].y > points[high].y) high = end;
    }
    std::array<std::size_t, 4> chosen{begin, low, high, end - 1};
    std::sort(chosen.begin(), chosen.end());
    for (std::size_t i = 0; i < chosen.size(); ++i)
      if (i == 0 || chosen[i] != chosen[i - 1]) kept.push_back(points[chosen[i]]);
    begin = end;
  }
  return kept;
}

}  // namespace lockstep::chart_detail
