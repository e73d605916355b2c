// SPDX-License-Identifier: Apache-2.0
#include "charts/number_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "core/digits.h"

namespace lockstep {
namespace {

// "1e+07" -> "1e7", "1.2e-05" -> "1.2e-5".
std::string short_exponent(std::string text) {
  const std::size_t e = text.find('e');
  if (e == std::string::npos) return text;
  std::size_t digit = e + 1;
  const bool negative = text[digit] == '-';
  if (text[digit] == '+' || negative) ++digit;
  while (digit + 1 < text.size() && text[digit] == '0') ++digit;
  return text.substr(0, e + 1) + (negative ? "-" : "") + text.substr(digit);
}

std::string without_trailing_zeros(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string scientific(double value, int digits) {
  std::string text = fmt::format("{:.{}e}", value, std::max(0, digits - 1));
  const std::size_t e = text.find('e');
  return short_exponent(without_trailing_zeros(text.substr(0, e)) + text.substr(e));
}

int decimals_of(double step) { return std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 12); }

}  // namespace

std::string number_text(double value, int digits) {
  if (std::isnan(value)) return "-";
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size == std::floor(size) && size < 1e12) return grouped_digits(fmt::format("{:.0f}", value));
  if (size >= 1e9 || size < 1e-4) return scientific(value, digits);
  const int magnitude = static_cast<int>(std::floor(std::log10(size)));
  return grouped_digits(without_trailing_zeros(fmt::format("{:.{}f}", value, std::clamp(digits - 1 - magnitude, 0, 12))));
}

std::string percent_text(double share, int decimals) {
  if (!std::isfinite(share)) return "-";
  return fmt::format("{:.{}f} %", share * 100, decimals);
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "-";
  if (seconds < 59.95) return fmt::format("{:.{}f} s", seconds, seconds < 9.95 ? 1 : 0);
  if (seconds > 1e12) return number_text(seconds / 86400, 3) + " d";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
}

std::string bytes_text(double bytes) {
  if (!std::isfinite(bytes) || bytes < 0) return "-";
  constexpr std::array<const char*, 6> kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  for (; bytes >= 999.5 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
  return number_text(bytes < 100 ? bytes : std::round(bytes), 3) + " " + kUnits[unit];
}

std::string tick_text(double value, double step) {
  if (value == 0 || (step > 0 && std::abs(value) < step * 1e-6)) return "0";
  const double size = std::abs(value);
  if (size >= 1e18 || size < 0.99e-4) {
    const int digits = step > 0 ? static_cast<int>(std::ceil(std::log10(size / step) - 1e-9)) + 1 : 3;
    return scientific(value, std::clamp(digits, 1, 12));
  }
  constexpr std::array<std::pair<double, const char*>, 4> kUnits{{{1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}}};
  for (const auto& [unit, name] : kUnits) {
    if (size < unit * (1 - 1e-9)) continue;
    const int decimals = step > 0 ? decimals_of(step / unit) : 6;
    return without_trailing_zeros(fmt::format("{:.{}f}", value / unit, decimals)) + name;
  }
  if (step <= 0) return grouped_digits(without_trailing_zeros(fmt::format("{:.8f}", value)));
  return grouped_digits(fmt::format("{:.{}f}", value, decimals_of(step)));
}

}  // namespace lockstep
