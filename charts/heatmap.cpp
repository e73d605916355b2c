// Heatmap: cells from dark (bad) to bright (good), in viridis' colours, which keep their order for the colour-blind and in print.
//
// The colours cover the values from the best down to four times the distance between best and median: a value that is far
// off (a run that diverged) does not make all others look alike. The scale beside the cells says so.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <vector>

#include "charts/chart_text.h"
#include "charts/drawing.h"
#include "charts/head.h"
#include "charts/number_text.h"
#include "charts/scale.h"

namespace lockstep::chart_detail {
namespace {

constexpr double kGap = 6;
constexpr double kBarHeight = 10, kBarWidth = 160;
constexpr int kBarParts = 32;
constexpr double kLeastCell = 18;

struct Rgb {
  int r, g, b;
};
constexpr std::array<Rgb, 9> kViridis{
    {{68, 1, 84}, {71, 44, 122}, {59, 81, 139}, {44, 113, 142}, {33, 144, 141}, {39, 173, 129}, {92, 200, 99}, {170, 220, 50}, {253, 231, 37}}};

Rgb colour_of(double share) {
  const double place = std::clamp(share, 0.0, 1.0) * (kViridis.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), kViridis.size() - 2);
  const double part = place - static_cast<double>(below);
  const Rgb a = kViridis[below], b = kViridis[below + 1];
  const auto mix = [part](int from, int to) { return static_cast<int>(std::lround(from + part * (to - from))); };
  return {mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b)};
}

std::string hex(Rgb c) { return fmt::format("#{:02x}{:02x}{:02x}", c.r, c.g, c.b); }
// Whether white text is easier to read on it than black: by relative luminance (WCAG 2).
bool is_dark(Rgb c) {
  const auto linear = [](int part) {
    const double v = part / 255.0;
    return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
  };
  const double luminance = 0.2126 * linear(c.r) + 0.7152 * linear(c.g) + 0.0722 * linear(c.b);
  return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05;
}

// From values to the colours' 0 (bad) ... 1 (good).
struct Ramp {
  double bad = 0, good = 1;
  bool cut = false;  // there are values beyond `bad`

  double share(double value) const { return bad == good ? 1 : (value - bad) / (good - bad); }
};

std::optional<Ramp> ramp_of(const Heatmap& map) {
  std::vector<double> values;
  for (const double value : map.values)
    if (is_drawable(value, false)) values.push_back(value);
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  if (!map.low_is_good) std::reverse(values.begin(), values.end());  // best first
  const double best = values.front(), worst = values.back(), median = values[(values.size() - 1) / 2];
  const double far = best + 4 * (median - best);
  const bool cut = median != best && std::abs(worst - best) > std::abs(far - best);
  return Ramp{cut ? far : worst, best, cut};
}

class Drawing {
 public:
  Drawing(const Heatmap& map, bool with_hover) : map_(map), with_hover_(with_hover), ramp_(ramp_of(map)), width_(std::max(map.width, kLeastWidth)) {}

  std::string draw(bool with_style) {
    double y = draw_head(canvas_, map_.title, "", width_);
    if (ramp_ && ramp_->bad != ramp_->good) y = draw_bar(y);
    if (!map_.y_title.empty()) {
      canvas_.text({kEdge, y + kText}, "s", Anchor::kStart, ellipsis(map_.y_title, kText, width_ - 2 * kEdge));
      y += kRow + 4;
    }
    const double below = kGap + 2 * kRow + kEdge;
    double labels = 0;
    for (const std::string& row : map_.rows) labels = std::max(labels, text_width(row, kText));
    labels = std::min(labels, width_ * 0.35);
    const double rows = static_cast<double>(map_.rows.size());
    grid_ = {kEdge + labels + kGap, y, width_ - kEdge, 0};
    grid_.bottom = std::max(std::max(map_.height, kLeastHeight) - below, y + std::max(1.0, rows) * kLeastCell);
    draw_cells();
    draw_names(labels);
    return canvas_.finish(width_, static_cast<int>(std::ceil(grid_.bottom + below)), accessible_name(map_.title, ""), with_style);
  }

 private:
  double cell_width() const { return grid_.width() / static_cast<double>(std::max<std::size_t>(1, map_.columns.size())); }
  double cell_height() const { return grid_.height() / static_cast<double>(std::max<std::size_t>(1, map_.rows.size())); }

  Box cell(std::size_t row, std::size_t column) const {
    const double left = grid_.left + cell_width() * static_cast<double>(column), top = grid_.top + cell_height() * static_cast<double>(row);
    return {left, top, left + cell_width() - 1, top + cell_height() - 1};
  }

  std::string text_of(std::size_t index) const {
    if (index < map_.labels.size()) return map_.labels[index];
    return index < map_.values.size() && std::isfinite(map_.values[index]) ? number_text(map_.values[index]) : "";
  }

  // The scale of the colours, from bad to good.
  double draw_bar(double y) {
    const double half = kText / 2 + 4;
    const std::string bad = (ramp_->cut ? (map_.low_is_good ? "\u2265 " : "\u2264 ") : "") + number_text(ramp_->bad), good = number_text(ramp_->good);
    double x = kEdge;
    const std::string title = ellipsis(map_.value_title, kText, width_ - 2 * kEdge);
    const double numbers = text_width(bad, kText) + text_width(good, kText) + 2 * kGap;
    if (!title.empty()) {
      canvas_.text({x, y + half + 2}, "s", Anchor::kStart, title);
      x += text_width(title, kText) + 14;
    }
    if (x + kBarWidth + numbers > width_ - kEdge) x = kEdge, y += kRow + 2;
    const double bar_width = std::min(kBarWidth, width_ - 2 * kEdge - numbers);
    canvas_.text({x, y + half + 2}, "", Anchor::kStart, bad);
    x += text_width(bad, kText) + kGap;
    for (int i = 0; i < kBarParts; ++i) {
      const double left = x + bar_width * i / kBarParts;
      canvas_.cell({left, y + 3, left + bar_width / kBarParts + 0.3, y + 3 + kBarHeight}, hex(colour_of((i + 0.5) / kBarParts)), "");
    }
    canvas_.text({x + bar_width + kGap, y + half + 2}, "", Anchor::kStart, good);
    return y + kRow + 8;
  }

  void draw_cells() {
    for (std::size_t row = 0; row < map_.rows.size(); ++row)
      for (std::size_t column = 0; column < map_.columns.size(); ++column) draw_cell(row, column);
    if (!ramp_) canvas_.text({(grid_.left + grid_.right) / 2, (grid_.top + grid_.bottom) / 2}, "s", Anchor::kMiddle, "no data");
  }

  void draw_cell(std::size_t row, std::size_t column) {
    const std::size_t index = row * map_.columns.size() + column;
    const Box box = cell(row, column);
    const std::string text = text_of(index);
    const std::string place = map_.x_title + ": " + map_.columns[column] + "\n" + map_.y_title + ": " + map_.rows[row];
    const bool known = ramp_ && index < map_.values.size() && is_drawable(map_.values[index], false);
    if (!known) {
      canvas_.cell(box, "none", text.empty() || !with_hover_ ? "" : place + "\n" + text);
      if (!text.empty() && fits(text, box, false)) write(box, "n", text);
      return;
    }
    const Rgb colour = colour_of(ramp_->share(map_.values[index]));
    const bool best = map_.values[index] == ramp_->good && ramp_->bad != ramp_->good;
    const std::string value = text.empty() ? number_text(map_.values[index]) : text;
    canvas_.cell(box, hex(colour), !with_hover_ ? "" : place + "\n" + (map_.value_title.empty() ? "" : map_.value_title + ": ") + value);
    if (best)
      canvas_.path(fmt::format("M{}H{}V{}H{}z", at({box.left + 1, box.top + 1}), coordinate(box.right - 1), coordinate(box.bottom - 1),
                               coordinate(box.left + 1)),
                   "x");
    const bool bold = best && fits(text, box, true);
    if (fits(text, box, false)) write(box, std::string(is_dark(colour) ? "on" : "off") + (bold ? " e" : ""), text);
  }

  static bool fits(const std::string& text, const Box& box, bool bold) {
    return text_width(text, kSmallText, bold) <= box.width() - 2 && box.height() >= kSmallText + 2;
  }

  void write(const Box& box, const std::string& classes, const std::string& text) {
    canvas_.text({(box.left + box.right) / 2, (box.top + box.bottom) / 2 + 4}, classes, Anchor::kMiddle, text);
  }

  // Of rows and columns: every one, or every second, third, ... where there is no room.
  void draw_names(double width) {
    const auto row_stride = static_cast<std::size_t>(std::ceil((kText + 2) / cell_height()));
    for (std::size_t row = 0; row < map_.rows.size(); row += row_stride) {
      const Box box = cell(row, 0);
      canvas_.text({grid_.left - kGap, (box.top + box.bottom) / 2 + 4}, "", Anchor::kEnd, ellipsis(map_.rows[row], kText, width));
    }
    double widest = 0;
    for (const std::string& column : map_.columns) widest = std::max(widest, text_width(column, kText));
    const double room = std::min(widest, grid_.width() * 0.5);
    const auto stride = std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil((room + 5) / cell_width())));
    for (std::size_t column = 0; column < map_.columns.size(); column += stride) {
      const Box box = cell(0, column);
      const std::string name = ellipsis(map_.columns[column], kText, room);
      const double half = text_width(name, kText) / 2;
      canvas_.text({std::clamp((box.left + box.right) / 2, half, width_ - half), grid_.bottom + kGap + kText - 2}, "", Anchor::kMiddle, name);
    }
    if (map_.x_title.empty()) return;
    const std::string title = ellipsis(map_.x_title, kText, width_ - 2 * kEdge);
    const double half = text_width(title, kText) / 2;
    const double middle = std::clamp((grid_.left + grid_.right) / 2, kEdge + half, width_ - kEdge - half);
    canvas_.text({middle, grid_.bottom + kGap + kRow + kText}, "s", Anchor::kMiddle, title);
  }

  const Heatmap& map_;
  bool with_hover_;
  std::optional<Ramp> ramp_;
  int width_;
  Box grid_;
  Canvas canvas_;
};

}  // namespace

std::string draw(const Heatmap& map, bool with_style, bool with_hover) { return Drawing(map, with_hover).draw(with_style); }

}  // namespace lockstep::chart_detail
