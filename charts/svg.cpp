// The layout of a chart: what stands above the plot is placed first, then the axes take what is left.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "charts/chart_text.h"
#include "charts/drawing.h"
#include "charts/frame.h"
#include "charts/head.h"

namespace lockstep::chart_detail {
namespace {

constexpr double kTickGap = 6;          // between the axis and its numbers
constexpr double kBetweenNumbers = 10;  // along the x axis
constexpr double kLeastPlotHeight = 150;
constexpr double kPixelsPerYTick = 40;
constexpr int kMostXTicks = 9;
constexpr double kNoteRow = 14;
constexpr int kLeastColumns = 40;
constexpr double kHoverSpacing = 7;     // pixels between points of a line that have texts
constexpr std::size_t kManySeries = 3;  // with more, lines are thinned further and fewer points have texts: a page stays small

struct Extents {
  Extent x, y;
  int left_out = 0;  // points that a logarithmic axis can't show
};

Extents extents_of(const Chart& chart) {
  Extents extents{Extent(chart.x.log), Extent(chart.y.log)};
  bool powers_of_two = true;
  for (const Series& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      const bool good = is_drawable(point.x, chart.x.log) && is_drawable(point.y, chart.y.log);
      extents.left_out += !good && is_drawable(point.x, false) && is_drawable(point.y, false);
      if (!good) continue;
      extents.x.include(point.x);
      powers_of_two = powers_of_two && (series.dashed || is_power_of_two(point.x));
      extents.y.include(point.y);
      if (is_drawable(point.low, chart.y.log)) extents.y.include(point.low);
      if (is_drawable(point.high, chart.y.log)) extents.y.include(point.high);
    }
  }
  if (extents.x.empty) return extents;
  for (const Rule& rule : chart.rules) {
    if (is_drawable(rule.value, rule.vertical ? chart.x.log : chart.y.log)) (rule.vertical ? extents.x : extents.y).include(rule.value);
  }
  extents.x.powers_of_two = powers_of_two && chart.x.log;
  return extents;
}

double widest(const std::vector<Tick>& ticks) {
  double width = 0;
  for (const Tick& tick : ticks) width = std::max(width, text_width(tick.text, kText));
  return width;
}

class Drawing {
 public:
  Drawing(const Chart& chart, bool with_hover)
      : chart_(chart),
        with_hover_(with_hover),
        extents_(extents_of(chart)),
        width_(std::max(chart.width, kLeastWidth)),
        given_height_(std::max(chart.height, kLeastHeight)) {}

  std::string draw(bool with_style) {
    double y = draw_head(canvas_, chart_.title, chart_.subtitle, width_);
    y = draw_legend(canvas_, legend(), y, width_);
    if (!chart_.y.title.empty()) {
      canvas_.text({kEdge, y + kText}, "s", Anchor::kStart, ellipsis(chart_.y.title, kText, width_ - 2 * kEdge));
      y += kRow + 4;
    }
    Frame frame = place(y + kRow * rule_rows_estimate());
    draw_axes(frame);
    draw_rules(frame);
    draw_all_series(frame);
    finish_below(frame);
    return canvas_.finish(width_, static_cast<int>(std::ceil(height_)), accessible_name(chart_.title, chart_.subtitle), with_style);
  }

 private:
  std::vector<LegendItem> legend() const {
    std::vector<LegendItem> items;
    for (std::size_t i = 0; i < chart_.series.size(); ++i) {
      const Series& series = chart_.series[i];
      if (series.name.empty()) continue;
      const Look look = look_of(series, static_cast<int>(i));
      items.push_back({.name = series.name,
                       .colour = look.colour,
                       .shape = look.shape,
                       .line = series.style != Series::Style::kPoints,
                       .dashed = series.dashed,
                       .marker = has_markers(series) || (series.dashed ? several_dashed() : several())});
    }
    return items;
  }

  bool several() const { return chart_.series.size() > 1; }
  bool several_dashed() const {
    return std::count_if(chart_.series.begin(), chart_.series.end(), [](const Series& series) { return series.dashed; }) > 1;
  }

  bool any_markers() const { return std::any_of(chart_.series.begin(), chart_.series.end(), has_markers); }

  // Labels of vertical rules stand above the plot, in as many rows as they would need in a plot of almost the full width.
  int rule_rows_estimate() const {
    double used = 0;
    int labels = 0;
    for (const Rule& rule : chart_.rules) {
      if (!rule.vertical || rule.label.empty()) continue;
      ++labels;
      used += text_width(rule.label, kSmallText) + kBetweenNumbers;
    }
    return labels == 0 ? 0 : std::min(labels, 1 + static_cast<int>(used / (width_ * 0.4)));
  }

  // The plot below `top`, and the scales.
  Frame place(double top) {
    const std::vector<std::string> note = notes();
    const double below = kTickGap + kRow + (chart_.x.title.empty() ? 0 : kRow) + kNoteRow * static_cast<double>(note.size()) + kEdge;
    Box plot{kEdge, top + kEdge, width_ - kEdge - 4, 0};
    plot.bottom = std::max(given_height_ - below, plot.top + kLeastPlotHeight);
    height_ = plot.bottom + below;
    Scale y(chart_.y, extents_.y, Scale::Room::kRound, std::max(3, static_cast<int>(plot.height() / kPixelsPerYTick)));
    plot.left = std::min(kEdge + widest(y.ticks()) + kTickGap, width_ / 2.0);
    Scale x(chart_.x, extents_.x, any_markers() ? Scale::Room::kMargin : Scale::Room::kNone, kMostXTicks);
    fit_x_ticks(x, plot);
    y.set_pixels(plot.bottom, plot.top);
    const double share = static_cast<double>(kManySeries) / static_cast<double>(std::max(chart_.series.size(), kManySeries));
    const int columns = std::max(kLeastColumns, static_cast<int>(plot.width() * share));
    return {x, y, plot, chart_.x, chart_.y, columns, kHoverSpacing / share, several(), several_dashed()};
  }

  // As many numbers as stand beside each other; the last may reach beyond the plot.
  void fit_x_ticks(Scale& x, Box& plot) const {
    for (int most = kMostXTicks; most >= 2; --most) {
      x.make_ticks(most);
      const std::string last = last_number(x);
      plot.right = width_ - kEdge - std::max(4.0, text_width(last, kText) / 2);
      x.set_pixels(plot.left, plot.right);
      if (numbers_fit(x)) return;
    }
  }

  static std::string last_number(const Scale& x) {
    for (auto tick = x.ticks().rbegin(); tick != x.ticks().rend(); ++tick)
      if (!tick->text.empty()) return tick->text;
    return "";
  }

  static bool numbers_fit(const Scale& x) {
    double end = -1e9;
    for (const Tick& tick : x.ticks()) {
      if (tick.text.empty()) continue;
      const double half = text_width(tick.text, kText) / 2, middle = x.at(tick.value);
      if (middle - half < end + kBetweenNumbers) return false;
      end = middle + half;
    }
    return true;
  }

  void draw_axes(const Frame& frame) {
    const Box& plot = frame.plot;
    double free_above = 1e9;  // a logarithmic axis' numbers may come close: those that would touch are left out
    for (const Tick& tick : frame.y.ticks()) {
      const double y = frame.y.at(tick.value);
      if (!tick.text.empty()) canvas_.line({plot.left, y}, {plot.right, y}, "g");
      else canvas_.line({plot.left, y}, {plot.left - 3, y}, "a");
      if (tick.text.empty() || y + kText > free_above) continue;
      canvas_.text({plot.left - kTickGap, y + 4}, "", Anchor::kEnd, tick.text);
      free_above = y;
    }
    for (const Tick& tick : frame.x.ticks()) {
      const double x = frame.x.at(tick.value);
      canvas_.line({x, plot.bottom}, {x, plot.bottom + (tick.text.empty() ? 3 : 5)}, "a");
      if (tick.text.empty()) continue;
      const double half = text_width(tick.text, kText) / 2;
      canvas_.text({std::clamp(x, half, width_ - half), plot.bottom + kTickGap + kText}, "", Anchor::kMiddle, tick.text);
    }
    canvas_.path(fmt::format("M{}V{}H{}", at({plot.left, plot.top}), coordinate(plot.bottom), coordinate(plot.right)), "a");
  }

  void draw_rules(const Frame& frame) {
    for (const Rule& rule : chart_.rules) {
      const Scale& scale = rule.vertical ? frame.x : frame.y;
      if (!is_drawable(rule.value, rule.vertical ? chart_.x.log : chart_.y.log) || !scale.contains(rule.value)) continue;
      if (rule.vertical)
        draw_vertical(frame, rule);
      else
        canvas_.line({frame.plot.left, frame.y.at(rule.value)}, {frame.plot.right, frame.y.at(rule.value)}, "r");
    }
  }

  // Its label above the plot, in the first row where it is free.
  void draw_vertical(const Frame& frame, const Rule& rule) {
    const double x = frame.x.at(rule.value);
    const std::string label = ellipsis(rule.label, kSmallText, width_ - 2 * kEdge);
    const double half = text_width(label, kSmallText) / 2;
    const double middle = std::clamp(x, kEdge + half, width_ - kEdge - half);
    const int rows = std::max(1, rule_rows_estimate());
    double bottom = frame.plot.top - 4;
    for (int row = 0; row < rows; ++row, bottom -= kRow) {
      const Box box{middle - half - 4, bottom - kSmallText, middle + half + 4, bottom};
      if (row + 1 < rows && std::any_of(covered_.begin(), covered_.end(), [&](const Box& other) { return other.overlaps(box); })) continue;
      if (!label.empty()) canvas_.text({middle, bottom}, "o s", Anchor::kMiddle, label);
      covered_.push_back(box);
      break;
    }
    canvas_.line({x, frame.plot.top}, {x, frame.plot.bottom}, "r");
  }

  void draw_all_series(const Frame& frame) {
    for (std::size_t i = 0; i < chart_.series.size(); ++i)
      draw_series(canvas_, chart_.series[i], look_of(chart_.series[i], static_cast<int>(i)), frame, static_cast<int>(i), covered_);
    label_horizontal_rules(frame);
    for (const Series& series : chart_.series) draw_labels(canvas_, series, frame, covered_);
    for (std::size_t i = 0; with_hover_ && i < chart_.series.size(); ++i)
      draw_hover(canvas_, chart_.series[i], look_of(chart_.series[i], static_cast<int>(i)), frame);
    if (extents_.x.empty)
      canvas_.text({(frame.plot.left + frame.plot.right) / 2, (frame.plot.top + frame.plot.bottom) / 2}, "s", Anchor::kMiddle, "no data");
  }

  // Above or below the line, at its right, its left or its middle: where it covers least. Left out where others' labels leave no room.
  void label_horizontal_rules(const Frame& frame) {
    std::vector<Box> labels;
    const auto overlapped = [](const std::vector<Box>& boxes, const Box& box) {
      return std::count_if(boxes.begin(), boxes.end(), [&](const Box& other) { return other.overlaps(box); });
    };
    for (const Rule& rule : chart_.rules) {
      if (rule.vertical || rule.label.empty() || !is_drawable(rule.value, chart_.y.log) || !frame.y.contains(rule.value)) continue;
      const std::string label = ellipsis(rule.label, kSmallText, frame.plot.width() - 8);
      const double width = text_width(label, kSmallText), y = frame.y.at(rule.value);
      std::optional<Box> best;
      long fewest = 0;
      for (const double left : {frame.plot.right - width - 4, frame.plot.left + 6, (frame.plot.left + frame.plot.right - width) / 2}) {
        for (const double top : {y - kSmallText - 4, y + 3}) {
          const Box box{left, top, left + width, top + kSmallText + 2};
          if (box.top < frame.plot.top || box.bottom > frame.plot.bottom || overlapped(labels, box) > 0) continue;
          const long hidden = overlapped(covered_, box);
          if (!best || hidden < fewest) best = box, fewest = hidden;
        }
      }
      if (!best) continue;
      canvas_.text({best->left, best->bottom - 3}, "o s", Anchor::kStart, label);
      labels.push_back(*best);
    }
    covered_.insert(covered_.end(), labels.begin(), labels.end());
  }

  std::vector<std::string> notes() const {
    std::string text = chart_.note;
    if (extents_.left_out > 0)
      text += fmt::format("{}{} point{} left out: not positive, which a logarithmic axis can't show.", text.empty() ? "" : " ", extents_.left_out,
                          extents_.left_out == 1 ? " is" : "s are");
    return note_lines(text, width_);
  }

  void finish_below(const Frame& frame) {
    double y = frame.plot.bottom + kTickGap + kRow;
    if (!chart_.x.title.empty()) {
      const std::string title = ellipsis(chart_.x.title, kText, width_ - 2 * kEdge);
      const double half = text_width(title, kText) / 2;
      const double middle = std::clamp((frame.plot.left + frame.plot.right) / 2, kEdge + half, width_ - kEdge - half);
      canvas_.text({middle, y + kText}, "s", Anchor::kMiddle, title);
      y += kRow;
    }
    draw_note(canvas_, notes(), y + 4);
  }

  const Chart& chart_;
  bool with_hover_;
  Extents extents_;
  int width_;
  double given_height_;
  double height_ = 0;
  Canvas canvas_;
  std::vector<Box> covered_;
};

}  // namespace

std::string draw(const Chart& chart, bool with_style, bool with_hover) { return Drawing(chart, with_hover).draw(with_style); }

}  // namespace lockstep::chart_detail

namespace lockstep {

std::string svg(const Chart& chart) { return chart_detail::draw(chart, true, true); }
std::string svg(const Heatmap& map) { return chart_detail::draw(map, true, true); }

}  // namespace lockstep
