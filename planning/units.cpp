// SPDX-License-Identifier: Apache-2.0
#include "planning/units.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "charts/number_text.h"

namespace lockstep {
namespace {

// Three significant digits, none of them an exponent.
std::string three_digits(double value) {
  const double size = std::fabs(value);
  return fmt::format("{:.{}f}", value, size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
}

}  // namespace

std::string quantity(double value, std::string_view unit) {
  constexpr std::array<std::string_view, 8> kPrefixes{"", "k", "M", "G", "T", "P", "E", "Z"};
  if (!std::isfinite(value)) return "-";
  std::size_t prefix = 0;
  while (std::fabs(value) >= 999.5 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  const std::string number = prefix == 0 && value == std::floor(value) ? fmt::format("{:.0f}", value) : three_digits(value);
  const std::string full_unit = std::string(kPrefixes[prefix]) + std::string(unit);
  return full_unit.empty() ? number : number + " " + full_unit;
}

std::string time_text(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds < 1e-3) return three_digits(seconds * 1e6) + " us";
  if (seconds < 1) return three_digits(seconds * 1e3) + " ms";
  if (seconds < 60) return three_digits(seconds) + " s";
  return duration_text(seconds);
}

std::string energy_text(double joules) {
  constexpr double kJoulesPerKwh = 3.6e6;
  if (!std::isfinite(joules)) return "-";
  return joules < 0.1 * kJoulesPerKwh ? quantity(joules, "J") : quantity(joules / kJoulesPerKwh * 1000, "Wh");
}

}  // namespace lockstep
