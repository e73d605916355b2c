// Canvas: writes SVG elements. Coordinates in pixels with one decimal; all text escaped. Private to charts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "charts/geometry.h"

namespace lockstep::chart_detail {

inline constexpr int kPalette = 7;  // colours; also of marker shapes
inline constexpr double kText = 12, kTitleText = 15, kSmallText = 11;  // font sizes, as in svg_style()

enum class Anchor { kStart, kMiddle, kEnd };

// The style of all charts: classes, and colours as variables that a page may set (--ink, --soft, --paper, --grid, --axis, --c0 ... --c6).
std::string svg_style();
// The same variables for dark and for light pages.
std::string colour_variables(bool dark);

std::string coordinate(double value);  // "12.3", "12"
std::string at(Pixel p);               // "12.3 45"

class Canvas {
 public:
  void open(std::string_view classes) { out_ += "<g class=\"" + std::string(classes) + "\">"; }
  void close() { out_ += "</g>"; }
  // The baseline begins, is centred or ends at `p`.
  void text(Pixel p, std::string_view classes, Anchor anchor, std::string_view content, std::string_view hover = "");
  void line(Pixel a, Pixel b, std::string_view classes);
  void path(std::string_view d, std::string_view classes);
  void cell(const Box& box, std::string_view fill, std::string_view hover);
  // An invisible disc that shows `hover`.
  void hover_disc(Pixel p, double radius, std::string_view hover);
  // Of the marker shapes; a path's part.
  static std::string marker(int shape, Pixel p, double radius);

  // The <svg> element; `label` is its accessible name.
  std::string finish(int width, int height, std::string_view label, bool with_style) const;

 private:
  std::string out_;
};

}  // namespace lockstep::chart_detail
