// Text in charts: how wide it is without asking a browser, and what to do when it is too wide. Private to charts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep::chart_detail {

// Upper bound in pixels of a text of `px` pixels in the usual sans-serif fonts: as wide as in DejaVu Sans, the widest of them.
double text_width(std::string_view text, double px, bool bold = false);

// The text, or as much of its beginning as fits, with an ellipsis. Cuts between code points.
std::string ellipsis(std::string_view text, double px, double width, bool bold = false);

// Lines no wider than `width`, broken at spaces; what does not fit in `max_lines` ends in an ellipsis. No text: no line.
std::vector<std::string> wrap(std::string_view text, double px, double width, int max_lines, bool bold = false);

}  // namespace lockstep::chart_detail
