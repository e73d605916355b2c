// Charts for a terminal: a grid of characters, one kind for each series.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "charts/chart.h"
#include "charts/scale.h"

namespace lockstep {
namespace {

using namespace chart_detail;

constexpr std::string_view kMarks = "*o+x#@%&";
constexpr int kLeastColumns = 40, kLeastRows = 4;

class Grid {
 public:
  Grid(int columns, int rows) : columns_(columns), rows_(static_cast<std::size_t>(rows), std::string(static_cast<std::size_t>(columns), ' ')) {}

  void put(double x, double y, char c) {
    const long column = std::lround(x), row = std::lround(y);
    if (column < 0 || column >= columns_ || row < 0 || row >= static_cast<long>(rows_.size())) return;
    rows_[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)] = c;
  }
  const std::string& row(std::size_t i) const { return rows_[i]; }

 private:
  long columns_;
  std::vector<std::string> rows_;
};

struct Axes {
  Scale x, y;
};

bool is_good(const Chart& chart, const ChartPoint& point) { return is_drawable(point.x, chart.x.log) && is_drawable(point.y, chart.y.log); }

Axes axes_of(const Chart& chart, int rows, int columns) {
  Extent x(chart.x.log), y(chart.y.log);
  bool powers_of_two = chart.x.log;
  for (const Series& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      if (!is_good(chart, point)) continue;
      x.include(point.x);
      y.include(point.y);
      powers_of_two = powers_of_two && (series.dashed || is_power_of_two(point.x));
    }
  }
  if (!x.empty)
    for (const Rule& rule : chart.rules) (rule.vertical ? x : y).include(rule.value);
  x.powers_of_two = powers_of_two;
  return {Scale(chart.x, x, Scale::Room::kNone, std::max(2, columns / 12)), Scale(chart.y, y, Scale::Room::kRound, std::max(2, rows / 4))};
}

// A character in every column between neighbouring points.
void draw_line(Grid& grid, const Series& series, const Chart& chart, const Axes& axes, char mark) {
  const ChartPoint* last = nullptr;
  for (const ChartPoint& point : series.points) {
    const bool good = is_good(chart, point);
    if (good && last != nullptr) {
      const double x0 = axes.x.at(last->x), x1 = axes.x.at(point.x), y0 = axes.y.at(last->y), y1 = axes.y.at(point.y);
      const int parts = std::clamp(static_cast<int>(std::abs(x1 - x0)), 1, 1000);
      for (int i = 0; i <= parts; ++i) {
        const double part = static_cast<double>(i) / parts;
        const double y = series.style == Series::Style::kSteps && i < parts ? y0 : y0 + part * (y1 - y0);
        grid.put(x0 + part * (x1 - x0), y, mark);
      }
    } else if (good) {
      grid.put(axes.x.at(point.x), axes.y.at(point.y), mark);
    }
    last = good ? &point : nullptr;
  }
}

void draw_rules(Grid& grid, const Chart& chart, const Axes& axes, int columns, int rows) {
  for (const Rule& rule : chart.rules) {
    if (!is_drawable(rule.value, rule.vertical ? chart.x.log : chart.y.log)) continue;
    if (rule.vertical)
      for (int row = 0; row < rows; ++row) grid.put(axes.x.at(rule.value), row, ':');
    else
      for (int column = 0; column < columns; ++column) grid.put(column, axes.y.at(rule.value), '-');
  }
}

// The x axis' numbers, each centred under its place, those left out that would touch the one before.
std::string x_numbers(const Scale& x, int margin, int columns) {
  std::string line(static_cast<std::size_t>(margin + columns), ' ');
  std::size_t free_from = 0;
  for (const Tick& tick : x.ticks()) {
    if (tick.text.empty() || tick.text.size() > line.size()) continue;
    const long wanted = margin + std::lround(x.at(tick.value)) - static_cast<long>(tick.text.size()) / 2;
    const auto begin = static_cast<std::size_t>(std::clamp<long>(wanted, 0, static_cast<long>(line.size() - tick.text.size())));
    if (begin < free_from) continue;
    line.replace(begin, tick.text.size(), tick.text);
    free_from = begin + tick.text.size() + 1;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

// Of series i; dashed ones are all drawn with dots.
char mark_of(const Chart& chart, std::size_t i) { return chart.series[i].dashed ? '.' : kMarks[i % kMarks.size()]; }

std::string legend(const Chart& chart) {
  std::string text;
  const auto add = [&text](char mark, const std::string& name) {
    if (!name.empty()) text += fmt::format("{}{} {}", text.empty() ? "" : "   ", mark, name);
  };
  for (std::size_t i = 0; i < chart.series.size(); ++i) add(mark_of(chart, i), chart.series[i].name);
  for (const Rule& rule : chart.rules) add(rule.vertical ? ':' : '-', rule.label);
  return text;
}

void draw_series(Grid& grid, const Chart& chart, const Axes& axes) {
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Series& series = chart.series[i];
    if (series.style != Series::Style::kPoints) draw_line(grid, series, chart, axes, mark_of(chart, i));
    if (series.style != Series::Style::kPoints && series.style != Series::Style::kLineAndPoints) continue;
    for (const ChartPoint& point : series.points)
      if (is_good(chart, point)) grid.put(axes.x.at(point.x), axes.y.at(point.y), mark_of(chart, i));
  }
}

// The grid with the y axis and its numbers, `margin` columns wide.
std::string with_y_axis(const Grid& grid, const Scale& y, int rows, std::size_t margin) {
  std::vector<std::string> numbers(static_cast<std::size_t>(rows));
  for (const Tick& tick : y.ticks()) {
    const long row = std::lround(y.at(tick.value));
    if (!tick.text.empty() && row >= 0 && row < rows) numbers[static_cast<std::size_t>(row)] = tick.text;
  }
  std::string text;
  for (std::size_t row = 0; row < numbers.size(); ++row) {
    std::string line = fmt::format("{:>{}} |{}", numbers[row].substr(0, margin - 2), margin - 2, grid.row(row));
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace

std::string text_chart(const Chart& chart, int width, int height) {
  width = std::max(width, kLeastColumns);
  const int rows = std::max(height - 2, kLeastRows);
  Axes axes = axes_of(chart, rows, width);
  std::size_t margin = 0;
  for (const Tick& tick : axes.y.ticks()) margin = std::max(margin, tick.text.size());
  margin = std::min(margin, static_cast<std::size_t>(width / 3)) + 2;
  const int columns = width - static_cast<int>(margin);
  axes.x.set_pixels(0, columns - 1);
  axes.y.set_pixels(rows - 1, 0);
  Grid grid(columns, rows);
  draw_rules(grid, chart, axes, columns, rows);
  draw_series(grid, chart, axes);
  std::string text;
  const auto add = [&text](const std::string& line) { text += line.empty() ? "" : line + "\n"; };
  add(chart.title);
  add(chart.subtitle);
  add(chart.y.title);
  text += with_y_axis(grid, axes.y, rows, margin);
  text += std::string(margin - 1, ' ') + "+" + std::string(static_cast<std::size_t>(columns), '-') + "\n";
  text += x_numbers(axes.x, static_cast<int>(margin), columns) + "\n";
  if (!chart.x.title.empty()) text += fmt::format("{:>{}}\n", chart.x.title, width);
  add(legend(chart));
  add(chart.note);
  return text;
}

}  // namespace lockstep
