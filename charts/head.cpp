// SPDX-License-Identifier: Apache-2.0
#include "charts/head.h"

#include <algorithm>

#include "charts/chart_text.h"

namespace lockstep::chart_detail {
namespace {
constexpr double kSample = 26;      // width of a legend item's line
constexpr double kSampleGap = 6, kItemGap = 18;
constexpr double kLongestName = 300;
constexpr double kLegendRow = 19;
constexpr double kNoteRow = 14;
}  // namespace

double draw_head(Canvas& canvas, const std::string& title, const std::string& subtitle, double width) {
  double y = kEdge;
  for (const std::string& line : wrap(title, kTitleText, width - 2 * kEdge, 3, true)) {
    canvas.text({kEdge, y + kTitleText}, "t", Anchor::kStart, line);
    y += kTitleText + 5;
  }
  for (const std::string& line : wrap(subtitle, kText, width - 2 * kEdge, 4)) {
    canvas.text({kEdge, y + kText}, "s", Anchor::kStart, line);
    y += kRow;
  }
  return y + 4;
}

double draw_legend(Canvas& canvas, const std::vector<LegendItem>& items, double top, double width) {
  double x = kEdge, y = top;
  for (const LegendItem& item : items) {
    const std::string name = ellipsis(item.name, kText, std::min(kLongestName, width - 2 * kEdge - kSample - kSampleGap));
    const double item_width = kSample + kSampleGap + text_width(name, kText);
    if (x > kEdge && x + item_width > width - kEdge) {
      x = kEdge;
      y += kLegendRow;
    }
    canvas.open(std::string("c").append(std::to_string(item.colour)));
    const double middle = y + kLegendRow / 2;
    if (item.line) canvas.line({x, middle}, {x + kSample, middle}, item.dashed ? "l d" : "l");
    if (item.marker) canvas.path(Canvas::marker(item.shape, {x + kSample / 2, middle}, 4), "m");
    canvas.close();
    canvas.text({x + kSample + kSampleGap, middle + 4}, "", Anchor::kStart, name, name == item.name ? "" : item.name);
    x += item_width + kItemGap;
  }
  return items.empty() ? top : y + kLegendRow + 4;
}

std::vector<std::string> note_lines(const std::string& note, double width) { return wrap(note, kSmallText, width - 2 * kEdge, 4); }

void draw_note(Canvas& canvas, const std::vector<std::string>& lines, double top) {
  for (const std::string& line : lines) {
    canvas.text({kEdge, top + kSmallText}, "n", Anchor::kStart, line);
    top += kNoteRow;
  }
}

std::string accessible_name(const std::string& title, const std::string& subtitle) {
  if (title.empty()) return "chart";
  return subtitle.empty() ? title : title + ". " + subtitle;
}

}  // namespace lockstep::chart_detail
