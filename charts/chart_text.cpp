// SPDX-License-Identifier: Apache-2.0
#include "charts/chart_text.h"

#include <array>
#include <cstdint>

namespace lockstep::chart_detail {
namespace {

// Advance of ' ' to '~' in DejaVu Sans, in hundredths of the font size.
constexpr std::array<std::uint8_t, 95> kWidths{
    32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,  64, 64, 34, 34, 84, 84, 84, 53,
    100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99, 69, 61, 69, 39, 34, 39, 84, 50,
    50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52, 39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84};
constexpr double kOther = 1.0;     // of a code point beyond ASCII, in font sizes
constexpr double kBold = 1.2;
constexpr std::string_view kEllipsis = "\u2026";

bool starts_code_point(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

double char_width(char c) {
  const auto code = static_cast<unsigned char>(c);
  if (code >= 32 && code < 127) return kWidths[code - 32] / 100.0;
  return starts_code_point(c) ? kOther : 0;
}

}  // namespace

double text_width(std::string_view text, double px, bool bold) {
  double width = 0;
  for (const char c : text) width += char_width(c);
  return width * px * (bold ? kBold : 1);
}

std::string ellipsis(std::string_view text, double px, double width, bool bold) {
  if (text_width(text, px, bold) <= width) return std::string(text);
  const double scale = px * (bold ? kBold : 1);
  double used = kOther * scale;
  std::size_t end = 0;
  for (; end < text.size(); ++end) {
    used += char_width(text[end]) * scale;
    if (used > width) break;  // at the first byte of a code point: the others have no width
  }
  std::string_view kept = text.substr(0, end);
  while (kept.ends_with(' ')) kept.remove_suffix(1);
  return std::string(kept) + std::string(kEllipsis);
}

std::vector<std::string> wrap(std::string_view text, double px, double width, int max_lines, bool bold) {
  std::vector<std::string> lines;
  std::string line;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string word(text.substr(0, space));
    const std::string longer = line.empty() ? word : line + " " + word;
    if (!line.empty() && text_width(longer, px, bold) > width) {
      if (static_cast<int>(lines.size()) + 1 == max_lines) {
        lines.push_back(ellipsis(line + " " + std::string(text), px, width, bold));
        return lines;
      }
      lines.push_back(std::move(line));
      line = word;
    } else {
      line = longer;
    }
    text = space == std::string_view::npos ? std::string_view{} : text.substr(space + 1);
  }
  if (!line.empty()) lines.push_back(line);
  for (std::string& each : lines) each = ellipsis(each, px, width, bold);  // a word may be wider than a line
  return lines;
}

}  // namespace lockstep::chart_detail
