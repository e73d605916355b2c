// The geometry of RandAugment: torchvision's matrices and Pillow's nearest-neighbour transform.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <numbers>

#include "data/limits.h"
#include "data/rand_augment.h"

namespace lockstep::detail {
namespace {

constexpr double radians(double degrees) { return degrees * (std::numbers::pi / 180.0); }

// tan of torchvision's road: tangent -> angle in degrees -> radians. Its roundings are kept.
double shear_by_degrees(double tangent) { return std::tan(radians(std::atan(tangent) * (180.0 / std::numbers::pi))); }

// Python's round(x, 15): to the nearest decimal with 15 places, exactly. |x| <= 1.
double rounded_to_15_places(double x) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), x, std::chars_format::fixed, 15).ptr;
  std::from_chars(text.data(), end, x);
  return x;
}

// Coordinates within an image, mapped by a shear up to 0.3 or a rotation up to 30 degrees, stay below 1.5 sides; Pillow
// takes the fixed-point path while they are below 2^15.
static_assert(kMaxImageSide * 3 / 2 < 1 << 15);
std::int32_t fixed(double x) { return static_cast<std::int32_t>(std::floor(x * 65536.0 + 0.5)); }

}  // namespace

NearestAffine shear_x(double tangent) { return {{1, shear_by_degrees(tangent), 0, 0, 1, 0}}; }

NearestAffine shear_y(double tangent) {
  const double angle = std::atan(tangent) * (180.0 / std::numbers::pi), y = radians(angle);
  return {{1, 0, 0, std::sin(y) / std::cos(y), 1, 0}};
}

NearestAffine rotate(double degrees, int height, int width) {
  // Python's modulo: in [0, 360).
  const double turn = degrees < 0 ? 360.0 + degrees : degrees;
  if (turn == 0 || turn == 360) return {};
  const double angle = -radians(turn), cx = width / 2.0, cy = height / 2.0;
  const double cosine = rounded_to_15_places(std::cos(angle)), sine = rounded_to_15_places(std::sin(angle));
  const double minus_sine = rounded_to_15_places(-std::sin(angle));
  return {{cosine, sine, cosine * -cx + sine * -cy + 0.0 + cx, minus_sine, cosine, minus_sine * -cx + cosine * -cy + 0.0 + cy}};
}

void translate(int right, int down, std::uint8_t* pixels, int height, int width, std::vector<std::uint8_t>& scratch) {
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(width), bytes = row_bytes * static_cast<std::size_t>(height);
  if (scratch.size() < bytes) scratch.resize(bytes);
  std::memcpy(scratch.data(), pixels, bytes);
  std::memset(pixels, 0, bytes);
  const int columns = width - std::abs(right);
  if (columns <= 0) return;
  const std::size_t to = 3 * static_cast<std::size_t>(std::max(right, 0)), from = 3 * static_cast<std::size_t>(std::max(-right, 0));
  for (int y = std::max(down, 0); y < height + std::min(down, 0); ++y)
    std::memcpy(pixels + static_cast<std::size_t>(y) * row_bytes + to, scratch.data() + static_cast<std::size_t>(y - down) * row_bytes + from,
                3 * static_cast<std::size_t>(columns));
}

void transform_nearest(const NearestAffine& map, std::uint8_t* pixels, int height, int width, std::vector<std::uint8_t>& scratch) {
  const auto& a = map.a;
  const std::size_t row_bytes = 3 * static_cast<std::size_t>(width), bytes = row_bytes * static_cast<std::size_t>(height);
  if (scratch.size() < bytes) scratch.resize(bytes);
  std::memcpy(scratch.data(), pixels, bytes);
  std::memset(pixels, 0, bytes);
  const std::int32_t x_by_x = fixed(a[0]), x_by_y = fixed(a[1]), y_by_x = fixed(a[3]), y_by_y = fixed(a[4]);
  std::int32_t x_row = fixed(a[2] + a[0] * 0.5 + a[1] * 0.5), y_row = fixed(a[5] + a[3] * 0.5 + a[4] * 0.5);
  std::uint8_t* out = pixels;
  for (int y = 0; y < height; ++y, x_row += x_by_y, y_row += y_by_y) {
    std::int32_t from_x = x_row, from_y = y_row;
    for (int x = 0; x < width; ++x, out += 3, from_x += x_by_x, from_y += y_by_x) {
      const std::int32_t column = from_x >> 16, row = from_y >> 16;  // below zero: floor
      if (column < 0 || column >= width || row < 0 || row >= height) continue;
      std::memcpy(out, scratch.data() + static_cast<std::size_t>(row) * row_bytes + 3 * static_cast<std::size_t>(column), 3);
    }
  }
}

}  // namespace lockstep::detail
