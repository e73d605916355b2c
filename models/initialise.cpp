// Box-Muller on Philox words. Only +, -, *, / and sqrt in double, which IEEE 754 defines to the last bit.
// SPDX-License-Identifier: Apache-2.0
#include "models/initialise.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace lockstep {
namespace detail {

double log_of_unit(double u) {
  const auto bits = std::bit_cast<std::uint64_t>(u);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);  // [1, 2)
  if (m > std::numbers::sqrt2) {
    m *= 0.5;
    ++exponent;
  }
  // log m = 2 atanh(s), |s| <= 0.172; the first term left out is s^18 / 19 < 1e-15 of the sum.
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double sum = 1.0 / 17;
  for (int k = 15; k >= 1; k -= 2) sum = sum * z + 1.0 / k;
  return exponent * std::numbers::ln2 + 2.0 * s * sum;
}

SinCos sin_cos_of_turn(double turn) {
  const int quadrant = static_cast<int>(4.0 * turn + 0.5);                         // 0..4
  const double x = (4.0 * turn - quadrant) * (std::numbers::pi * 0.5), z = x * x;  // |x| <= pi/4
  double s = 1.0, c = 1.0;                                                         // Taylor: what is left out is < 1e-16
  for (int k = 16; k >= 2; k -= 2) {
    s = 1.0 - s * z * (1.0 / (k * (k + 1.0)));
    c = 1.0 - c * z * (1.0 / (k * (k - 1.0)));
  }
  s *= x;
  switch (quadrant & 3) {
    case 0: return {s, c};
    case 1: return {c, -s};
    case 2: return {-s, -c};
    default: return {-c, s};
  }
}

}  // namespace detail

namespace {

// Four independent standard normals from one block.
std::array<double, 4> normals(const PhiloxBlock& block) {
  std::array<double, 4> z{};
  for (std::size_t pair = 0; pair < 4; pair += 2) {
    const double u = (block[pair] + 1.0) * 0x1p-32;  // (0, 1]: the logarithm is finite
    const double radius = std::sqrt(-2.0 * detail::log_of_unit(u));
    const detail::SinCos angle = detail::sin_cos_of_turn(block[pair + 1] * 0x1p-32);
    z[pair] = radius * angle.cos;
    z[pair + 1] = radius * angle.sin;
  }
  return z;
}

std::array<double, 4> uniforms(const PhiloxBlock& block) {
  std::array<double, 4> u{};
  for (std::size_t i = 0; i < 4; ++i) u[i] = block[i] * 0x1p-31 - 1.0;  // [-1, 1)
  return u;
}

template <class Draw>
void fill(const RandomKey& key, double scale, std::span<float> values, Draw draw) {
  for (std::size_t begin = 0; begin < values.size(); begin += 4) {
    const std::array<double, 4> four = draw(key.block(static_cast<std::uint32_t>(begin / 4)));
    for (std::size_t i = begin; i < values.size() && i < begin + 4; ++i)
      values[i] = static_cast<float>(scale * four[i - begin]);
  }
}

}  // namespace

void draw_normal(const RandomKey& key, double standard_deviation, std::span<float> values) {
  fill(key, standard_deviation, values, normals);
}

void draw_uniform(const RandomKey& key, double bound, std::span<float> values) { fill(key, bound, values, uniforms); }

}  // namespace lockstep
