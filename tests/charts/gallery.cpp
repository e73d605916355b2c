// SPDX-License-Identifier: Apache-2.0
#include "tests/charts/gallery.h"

#include <cmath>
#include <cstdint>
#include <limits>

namespace lockstep::testing {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Series points(const std::string& name, std::vector<ChartPoint> list, Series::Style style = Series::Style::kLineAndPoints) {
  return {.name = name, .style = style, .points = std::move(list)};
}

Chart empty_chart() { return {.title = "Nothing yet", .x = {.title = "epoch"}, .y = {.title = "loss"}}; }

Chart one_point() {
  return {.title = "One point", .x = {.title = "epoch"}, .y = {.title = "top-1", .percent = true}, .series = {points("run", {{.x = 1, .y = 0.931}})}};
}

Chart equal_values() {
  return {.title = "Equal values",
          .x = {.title = "step"},
          .y = {.title = "lr"},
          .series = {points("a", {{.x = 5, .y = 7e9}, {.x = 5, .y = 7e9}, {.x = 5, .y = 7e9}})}};
}

Chart huge_range(bool log) {
  std::vector<ChartPoint> list;
  for (int exponent = -30; exponent <= 30; exponent += 5) list.push_back({.x = std::pow(10, exponent), .y = std::pow(10, -exponent)});
  return {.title = log ? "Sixty decades" : "Sixty decades, evenly",
          .x = {.title = "x", .log = log},
          .y = {.title = "y", .log = log},
          .series = {points("a", list)}};
}

Chart limits() {
  return {.title = "Beyond all limits",
          .x = {.title = "x"},
          .y = {.title = "y"},
          .series = {points("a", {{.x = -1e300, .y = 1e300},
                                  {.x = 1e300, .y = -1e300},
                                  {.x = 1e308, .y = 1},
                                  {.x = kInfinity, .y = 2},
                                  {.x = 1, .y = -kInfinity},
                                  {.x = 1e-320, .y = 5e-324}})}};
}

Chart gaps() {
  return {
      .title = "Gaps",
      .subtitle = "a point that is not finite breaks the line",
      .x = {.title = "epoch"},
      .y = {.title = "loss"},
      .series = {points(
          "broken",
          {{.x = 0, .y = 2}, {.x = 1, .y = 1}, {.x = 2, .y = kNaN}, {.x = 3, .y = 0.8}, {.x = 4, .y = 0.7}, {.x = 5, .y = kNaN}, {.x = 6, .y = 0.5}},
          Series::Style::kLine)}};
}

Chart not_positive() {
  return {.title = "Logarithmic",
          .x = {.title = "batch", .log = true},
          .y = {.title = "rate", .log = true},
          .series = {points(
              "a", {{.x = 0, .y = 1}, {.x = -3, .y = 1}, {.x = 64, .y = 0}, {.x = 64, .y = 0.1}, {.x = 128, .y = 0.2}, {.x = 8192, .y = 3}})},
          .note = "A note."};
}

// A sweep: seeds, means with whiskers, a law, rules both ways, labels.
Chart sweep() {
  Series seeds{.name = "a seed", .style = Series::Style::kPoints, .points = {}, .colour = 5};
  Series mean{.name = "mean and range", .style = Series::Style::kLineAndPoints, .points = {}, .colour = 0, .label_points = true};
  Series law{.name = "fit: E = E_min (1 + B / B_crit)", .style = Series::Style::kLine, .points = {}, .dashed = true, .colour = 1};
  for (int i = 0; i < 8; ++i) {
    const double batch = 64 * std::pow(2, i), level = 0.935 - 0.0008 * std::exp(0.65 * i);
    for (int seed = -1; seed <= 1; ++seed) seeds.points.push_back({.x = batch, .y = level + 0.0015 * seed});
    mean.points.push_back({.x = batch, .y = level, .low = level - 0.0015, .high = level + 0.0015, .label = std::to_string(static_cast<int>(batch))});
  }
  for (int i = 0; i <= 60; ++i) law.points.push_back({.x = 64 * std::pow(2, i / 7.5), .y = 0.935 - 0.0008 * std::exp(0.65 * i / 7.5)});
  return {.title = "Accuracy against batch size", .subtitle = "Fashion-MNIST, 14 epochs", .x = {.title = "global batch (samples)", .log = true},
          .y = {.title = "top-1 at the end of the schedule", .percent = true}, .series = {seeds, mean, law},
          .rules = {{.label = "target 93 %", .value = 0.93}, {.label = "critical batch, fitted: 1,870", .value = 1870, .vertical = true},
                    {.label = "predicted from gradient noise: 1,420", .value = 1420, .vertical = true}}};
}

Chart many_series() {
  Chart chart{.title = "Many runs with long names, of which the title is long too, so long that it takes more than one line of the chart",
              .x = {.title = "epoch"},
              .y = {.title = "loss"}};
  for (int i = 0; i < 14; ++i)
    chart.series.push_back(noisy_curve("resnet50_imagenet_batch_" + std::to_string(64 << (i % 8)) + "_seed_" + std::to_string(i), 400, 1 + 0.2 * i));
  return chart;
}

Chart hostile() {
  const std::string name = "<script>alert('&\"')</script>\x01\xff\xc3\x28 \xe2\x82";
  return {.title = name,
          .subtitle = name,
          .x = {.title = name},
          .y = {.title = name},
          .series = {points(name, {{.x = 0, .y = 1, .label = name}, {.x = 1, .y = 2, .label = name}})},
          .rules = {{.label = name, .value = 1.5}, {.label = name, .value = 0.5, .vertical = true}},
          .note = name};
}

Chart clipped() {
  Chart chart{
      .title = "Axis limits", .x = {.title = "epoch", .min = 10.0, .max = 60.0}, .y = {.title = "share", .min = 0.2, .max = 0.6, .percent = true}};
  Series wave{.name = "band", .style = Series::Style::kLine, .points = {}};
  for (int i = 0; i <= 90; ++i)
    wave.points.push_back({.x = static_cast<double>(i),
                           .y = 0.5 + 0.4 * std::sin(i / 7.0),
                           .low = 0.4 + 0.4 * std::sin(i / 7.0),
                           .high = 0.6 + 0.4 * std::sin(i / 7.0)});
  chart.series = {wave, points("whiskers", {{.x = 20, .y = 0.3, .low = 0.1, .high = 0.9}, {.x = 40, .y = 0.9}, {.x = 60, .y = 0.6}})};
  return chart;
}

Chart steps() {
  Series rate{.name = "learning rate", .style = Series::Style::kSteps, .points = {}};
  for (int i = 0; i <= 3; ++i) rate.points.push_back({.x = 30.0 * i, .y = 0.1 * std::pow(10, -i)});
  return {.title = "Learning rate", .x = {.title = "epoch"}, .y = {.title = "rate", .log = true}, .series = {rate}};
}

Heatmap rates() {
  Heatmap map{
      .title = "Accuracy by learning rate and batch size", .x_title = "global batch", .y_title = "peak learning rate", .value_title = "top-1, %"};
  for (int i = 0; i < 8; ++i) map.columns.push_back(std::to_string(64 << i));
  for (int row = 0; row < 10; ++row) {
    map.rows.push_back(std::to_string(6.4 / (1 << row)).substr(0, 6));
    for (int column = 0; column < 8; ++column) {
      const int off = std::abs(9 - row - column);
      map.values.push_back(off > 2 ? kNaN : row == 0 ? 10 : 93.4 - 0.3 * off - 0.05 * column);
      map.labels.push_back(off > 2 ? (off == 3 ? "diverged" : "") : std::to_string(map.values.back()).substr(0, 5));
    }
  }
  return map;
}

}  // namespace

Series noisy_curve(const std::string& name, int count, double level) {
  Series series{.name = name, .style = Series::Style::kLine, .points = {}};
  std::uint32_t state = 12345;
  for (int i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    const double noise = (state >> 8) / static_cast<double>(1 << 24) - 0.5, t = 90.0 * i / count;
    series.points.push_back({.x = t, .y = level * std::exp(-t / 25) + 0.4 + 0.12 * noise});
  }
  return series;
}

std::vector<NamedChart> chart_gallery() {
  Chart long_line{.title = "Ten thousand points",
                  .x = {.title = "epoch"},
                  .y = {.title = "loss"},
                  .series = {noisy_curve("a", 10000, 2), noisy_curve("b", 10000, 3)}};
  Chart cloud{.title = "Ten thousand single points", .x = {.title = "epoch"}, .y = {.title = "loss"}, .series = {noisy_curve("a", 10000, 2)}};
  cloud.series[0].style = Series::Style::kPoints;
  return {{"empty", empty_chart()},
          {"one_point", one_point()},
          {"equal", equal_values()},
          {"sixty_decades", huge_range(true)},
          {"sixty_decades_evenly", huge_range(false)},
          {"limits", limits()},
          {"gaps", gaps()},
          {"log", not_positive()},
          {"sweep", sweep()},
          {"many", many_series()},
          {"hostile", hostile()},
          {"clipped", clipped()},
          {"steps", steps()},
          {"long", long_line},
          {"cloud", cloud}};
}

std::vector<NamedHeatmap> heatmap_gallery() {
  Heatmap equal{.title = "All equal", .x_title = "x", .y_title = "y", .columns = {"a", "b"}, .rows = {"c", "d"}, .values = {1, 1, 1, 1}};
  Heatmap none{.title = "Nothing", .x_title = "x", .y_title = "y", .columns = {"a"}, .rows = {"b"}, .values = {kNaN}};
  Heatmap bare{.title = "No cells"};
  Heatmap low{.title = "Low is good", .x_title = "<x>", .y_title = "&y", .value_title = "loss", .columns = {"1", "2", "3"}, .rows = {"4", "5"},
              .values = {0.5, 0.51, 0.52, 0.53, 1e30, -kInfinity}, .low_is_good = true};
  return {{"rates", rates()}, {"equal", equal}, {"none", none}, {"bare", bare}, {"low", low}};
}

}  // namespace lockstep::testing
