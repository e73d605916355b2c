// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "charts/number_text.h"
#include "report/sections.h"
#include "train/noise_scale.h"

namespace lockstep {
namespace {

struct Curve {
  const char* title;
  const char* key;  // of RunData::numbers
  Axis y;
  Series::Style style = Series::Style::kLine;
  const char* note = "";
};

bool has_any(const std::vector<RunView>& runs, std::string_view key) {
  return std::any_of(runs.begin(), runs.end(), [&](const RunView& run) {
    const auto& samples = run.data.samples(key);
    return std::any_of(samples.begin(), samples.end(), [](const MetricSample& sample) { return std::isfinite(sample.value); });
  });
}

// One line for each run, in its colour whether or not others have this curve.
Chart chart_of(const std::vector<RunView>& runs, const Curve& curve) {
  Chart chart{
      .title = curve.title, .x = {.title = "epoch", .min = 0}, .y = curve.y, .note = curve.note, .width = kChartWidth, .height = kChartHeight};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto& samples = runs[i].data.samples(curve.key);
    if (samples.empty()) continue;
    Series series{.name = runs[i].data.name, .style = curve.style, .points = {}, .colour = static_cast<int>(i)};
    for (const MetricSample& sample : samples) series.points.push_back({.x = sample.epoch, .y = sample.value, .label = ""});
    chart.series.push_back(std::move(series));
  }
  if (runs.size() == 1 && !chart.series.empty()) chart.series[0].name.clear();  // one line needs no legend
  return chart;
}

// The recipes' expectations: each different one once.
void add_expected(Chart& chart, const std::vector<RunView>& runs) {
  std::set<std::string> seen;
  for (const RunView& run : runs) {
    const auto &low = run.data.samples("val.expected_min"), &high = run.data.samples("val.expected_max");
    if (low.empty() || low.size() != high.size()) continue;
    Series series{.name = "expected by the recipe", .style = Series::Style::kLine, .points = {}, .dashed = true, .colour = 6};
    std::string key;
    for (std::size_t i = 0; i < low.size(); ++i) {
      if (!std::isfinite(low[i].value) || !std::isfinite(high[i].value)) continue;
      key += fmt::format("{},{},{};", low[i].epoch, low[i].value, high[i].value);
      series.points.push_back({.x = low[i].epoch,
                               .y = (low[i].value + high[i].value) / 2,
                               .low = low[i].value,
                               .high = high[i].value,
                               .label = fmt::format("epoch {}: expected {} to {}", number_text(low[i].epoch, 3), percent_text(low[i].value),
                                                    percent_text(high[i].value))});
    }
    if (series.points.empty() || !seen.insert(key).second) continue;
    if (series.points.size() == 1) series.style = Series::Style::kPoints;  // a whisker
    if (seen.size() > 1) series.name += " of " + run.data.name;
    chart.series.push_back(std::move(series));
  }
}

// With the batches in use as lines across: below them a larger batch saves little.
void add_noise_chart(Page& page, const std::vector<RunView>& runs) {
  const std::string key = std::string("train.") + kNoiseScaleKey;
  if (!has_any(runs, key)) return;
  Chart chart = chart_of(runs, {.title = "Critical batch (gradient noise scale)", .key = key.c_str(), .y = {.title = "samples", .log = true}});
  chart.note = "While it lies above the batch in use, a larger batch saves steps nearly in proportion; once it lies below, it saves few.";
  std::set<std::int64_t> batches;
  for (const RunView& run : runs)
    if (run.figures.global_batch > 0 && batches.insert(run.figures.global_batch).second)
      chart.rules.push_back({.label = fmt::format("batch in use: {}", number_text(static_cast<double>(run.figures.global_batch))),
                             .value = static_cast<double>(run.figures.global_batch)});
  page.chart(chart);
}

// The newest epoch's noise scales of the layer groups.
void add_noise_groups(Page& page, const std::vector<RunView>& runs) {
  const std::string prefix = std::string("noise.") + kNoiseScaleKey + ".";
  Table table{
      .header = {"run", "layers", "critical batch", "at epoch"}, .rows = {}, .caption = "Critical batch by layers, mean over the newest epoch"};
  for (const RunView& run : runs) {
    for (auto found = run.data.numbers.lower_bound(prefix); found != run.data.numbers.end() && found->first.starts_with(prefix); ++found) {
      const MetricSample& last = found->second.back();
      table.rows.push_back({{.text = run.data.name},
                            {.text = found->first.substr(prefix.size())},
                            {.text = std::isfinite(last.value) ? round_batch(last.value) : "drowned in noise", .number = true},
                            {.text = number_text(last.epoch, 3), .number = true}});
    }
  }
  if (!table.rows.empty()) page.details("Critical batch by layers", table);
}

}  // namespace

void add_curves(Page& page, const std::vector<RunView>& runs) {
  const std::array<Curve, 7> curves{
      {{.title = "Training loss", .key = "train.loss", .y = {.title = "mean over the steps between two records"}},
       {.title = "Accuracy (top-1) in evaluation",
        .key = "val.top1",
        .y = {.title = "top-1", .percent = true},
        .style = Series::Style::kLineAndPoints},
       {.title = "Accuracy (top-5) in evaluation",
        .key = "val.top5",
        .y = {.title = "top-5", .percent = true},
        .style = Series::Style::kLineAndPoints},
       {.title = "Loss in evaluation", .key = "val.loss", .y = {.title = "loss"}, .style = Series::Style::kLineAndPoints},
       {.title = "Accuracy (top-1) in training", .key = "train.top1", .y = {.title = "top-1, on augmented images", .percent = true}},
       {.title = "Learning rate", .key = "train.lr", .y = {.title = "learning rate"}},
       {.title = "Length of the gradient", .key = "train.grad_norm", .y = {.title = "L2 norm"}}}};
  bool any = has_any(runs, std::string("train.") + kNoiseScaleKey);
  for (const Curve& curve : curves) any = any || has_any(runs, curve.key);
  if (!any) return;
  page.heading("Curves");
  for (const Curve& curve : curves) {
    if (!has_any(runs, curve.key)) continue;
    Chart chart = chart_of(runs, curve);
    if (std::string_view(curve.key) == "val.top1") add_expected(chart, runs);
    page.chart(chart);
  }
  add_noise_chart(page, runs);
  add_noise_groups(page, runs);
}

}  // namespace lockstep
