// The trade-offs of a sweep: each batch size at its best learning rate, and those that no other beats in both respects.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "charts/number_text.h"
#include "report/pareto.h"
#include "report/sections.h"
#include "report/sweep_charts.h"

namespace lockstep {
namespace {

struct Choice {
  std::string name;  // of the batch
  double x = 0, y = 0;
};

struct Sides {
  const char* title;
  Axis x, y;
  bool high_x, high_y;  // which way is better
};

std::optional<Chart> tradeoff(const Sides& sides, const std::vector<Choice>& choices) {
  if (choices.size() < 2) return std::nullopt;
  Chart chart{.title = sides.title, .subtitle = fmt::format("better: {}, {}", sides.high_x ? "right" : "left", sides.high_y ? "up" : "down"),
              .x = sides.x, .y = sides.y, .width = kChartWidth, .height = kChartHeight};
  std::vector<Tradeoff> values;
  for (const Choice& choice : choices) values.push_back({.cost = sides.high_x ? -choice.x : choice.x, .gain = sides.high_y ? choice.y : -choice.y});
  const std::vector<std::size_t> front = pareto_front(values);
  Series best{.name = "Pareto front", .style = Series::Style::kLineAndPoints, .points = {}, .colour = 1, .label_points = true};
  Series beaten{.name = "beaten by another batch size", .style = Series::Style::kPoints, .points = {}, .colour = 0, .label_points = true};
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const Choice& choice = choices[i];
    const bool in_front = std::find(front.begin(), front.end(), i) != front.end();
    (in_front ? best : beaten).points.push_back({.x = choice.x, .y = choice.y,
                          .label = fmt::format("{}\n{}: {}\n{}: {}", choice.name, sides.x.title, number_text(choice.x), sides.y.title,
                                               sides.y.percent ? percent_text(choice.y) : number_text(choice.y))});
  }
  std::sort(best.points.begin(), best.points.end(), [](const ChartPoint& a, const ChartPoint& b) { return a.x < b.x; });
  chart.series.push_back(std::move(best));
  if (!beaten.points.empty()) chart.series.push_back(std::move(beaten));
  return chart;
}

template <class X, class Y>
std::vector<Choice> choices_of(const SweepResult& sweep, const X& x, const Y& y) {
  std::vector<Choice> choices;
  for (const BatchSummary& batch : sweep.batches) {
    const std::optional<double> first = x(batch), second = y(batch);
    if (first && second) choices.push_back({number_text(static_cast<double>(batch.batch)), *first, *second});
  }
  return choices;
}

}  // namespace

std::vector<Chart> pareto_charts(const SweepResult& sweep) {
  const auto axis = [](const char* title, bool log, bool percent = false) {
    Axis made;
    made.title = title;
    made.log = log;
    made.percent = percent;
    return made;
  };
  const auto accuracy = [](const BatchSummary& batch) { return batch.mean_top1; };
  const Axis top1 = axis("top-1, mean over the seeds", false, true);
  std::vector<Chart> charts;
  const auto add = [&charts](const char* title, const Axis& x, const Axis& y, bool high_x, bool high_y, const std::vector<Choice>& choices) {
    if (std::optional<Chart> chart = tradeoff({title, x, y, high_x, high_y}, choices)) charts.push_back(std::move(*chart));
  };
  add("Accuracy and speed", axis("images/s", true), top1, true, true,
      choices_of(sweep, [](const BatchSummary& batch) { return batch.images_per_second; }, accuracy));
  add("Accuracy and latency of a step", axis("ms a step", true), top1, false, true,
      choices_of(sweep, [](const BatchSummary& batch) { return batch.milliseconds_per_step; }, accuracy));
  add("Accuracy and energy", axis("J per trained image", false), top1, false, true,
      choices_of(sweep, [&](const BatchSummary& batch) { return joules_per_image(sweep, batch); }, accuracy));
  add("To the target: samples and steps", axis("steps to the target", true), axis("samples to the target", true), false, false,
      choices_of(
          sweep, [](const BatchSummary& batch) { return batch.steps_to_target; }, [](const BatchSummary& batch) { return batch.samples_to_target; }));
  add("To the target: time and energy", axis("seconds to the target", true), axis("J to the target", true), false, false,
      choices_of(
          sweep, [](const BatchSummary& batch) { return batch.seconds_to_target; },
          [](const BatchSummary& batch) { return batch.joules_to_target; }));
  return charts;
}

}  // namespace lockstep
