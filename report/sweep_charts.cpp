// SPDX-License-Identifier: Apache-2.0
#include "report/sweep_charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "charts/number_text.h"
#include "report/pareto.h"
#include "report/sections.h"
#include "train/noise_scale.h"

namespace lockstep {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

std::string batch_text(std::int64_t batch) { return number_text(static_cast<double>(batch)); }

Chart batch_chart(const char* title, Axis y) {
  return {.title = title, .x = {.title = "global batch (samples)", .log = true}, .y = std::move(y), .width = kChartWidth, .height = kChartHeight};
}

bool has_points(const Chart& chart) {
  return std::any_of(chart.series.begin(), chart.series.end(), [](const Series& series) { return !series.points.empty(); });
}

std::optional<Chart> if_any(Chart chart) { return has_points(chart) ? std::optional(std::move(chart)) : std::nullopt; }

std::string critical_text(double batch) { return std::isfinite(batch) ? round_batch(batch) : "no limit seen"; }

// Where the critical batch is, as fitted and as predicted.
void add_critical_batch(Chart& chart, const SweepVerdict& verdict) {
  const BatchLaw& fit = verdict.fit;
  if (fit.valid() && std::isfinite(fit.critical_batch)) {
    std::string label = fmt::format("critical batch, fitted: {}", critical_text(fit.critical_batch));
    if (fit.critical_low < fit.critical_high) label += fmt::format(" ({} to {})", critical_text(fit.critical_low), critical_text(fit.critical_high));
    chart.rules.push_back({.label = label, .value = fit.critical_batch, .vertical = true});
  }
  if (verdict.predicted_critical)
    chart.rules.push_back({.label = fmt::format("predicted from gradient noise: {}", critical_text(*verdict.predicted_critical)),
                           .value = *verdict.predicted_critical,
                           .vertical = true});
}

// `value` of each finalist as a point, and their mean with its range.
template <class OfTrial, class OfBatch>
Chart per_batch(Chart chart, const SweepResult& sweep, const OfTrial& of_trial, const OfBatch& of_batch) {
  Series trials{.name = "a seed", .style = Series::Style::kPoints, .points = {}, .colour = 5};
  Series means{.name = "mean and range", .style = Series::Style::kLineAndPoints, .points = {}, .colour = 0};
  for (const BatchSummary& batch : sweep.batches) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    const std::vector<const TrialRecord*> best = finalists(sweep, batch);
    for (const TrialRecord* trial : best) {
      const std::optional<double> value = of_trial(*trial);
      if (!value) continue;
      low = std::min(low, *value), high = std::max(high, *value);
      trials.points.push_back({.x = static_cast<double>(batch.batch),
                               .y = *value,
                               .label = fmt::format("batch {}, learning rate {}, seed {}: {}", batch_text(batch.batch), number_text(trial->lr),
                                                    trial->seed, chart.y.percent ? percent_text(*value) : number_text(*value, 5))});
    }
    if (const std::optional<double> mean = of_batch(batch))
      means.points.push_back({.x = static_cast<double>(batch.batch),
                              .y = *mean,
                              .low = best.size() > 1 ? low : kUnknown,
                              .high = best.size() > 1 ? high : kUnknown,
                              .label = ""});
  }
  if (sweep.seeds.size() > 1) chart.series.push_back(std::move(trials));
  else means.name = "measured";
  chart.series.push_back(std::move(means));
  return chart;
}

// The fitted law over the batches measured and a factor of two beyond.
template <class Value>
void add_law(Chart& chart, const SweepResult& sweep, const Value& value) {
  const BatchLaw& fit = sweep.verdict.fit;
  if (!fit.valid() || sweep.batches.empty() || !has_points(chart)) return;
  Series law{.name = "fit: E = E_min (1 + B / B_crit)", .style = Series::Style::kLine, .points = {}, .dashed = true, .colour = 1};
  constexpr int kParts = 80;
  const double low = static_cast<double>(sweep.batches.front().batch), high = 2 * static_cast<double>(sweep.batches.back().batch);
  for (int i = 0; i <= kParts; ++i) {
    const double batch = low * std::pow(high / low, static_cast<double>(i) / kParts);
    law.points.push_back({.x = batch, .y = value(fit, batch), .label = ""});
  }
  chart.series.push_back(std::move(law));
}

std::optional<Chart> to_target(const char* title, const char* unit, const SweepResult& sweep, std::optional<double> (*of_trial)(const TrialRecord&),
                               std::optional<double> BatchSummary::* of_batch, double (*law)(const BatchLaw&, double)) {
  Chart chart =
      per_batch(batch_chart(title, {.title = unit, .log = true}), sweep, of_trial, [&](const BatchSummary& batch) { return batch.*of_batch; });
  if (law != nullptr) add_law(chart, sweep, law);
  if (has_points(chart)) add_critical_batch(chart, sweep.verdict);
  return if_any(std::move(chart));
}

}  // namespace

std::vector<const TrialRecord*> finalists(const SweepResult& sweep, const BatchSummary& batch) {
  std::vector<const TrialRecord*> found;
  for (const TrialRecord& trial : sweep.trials)
    if (trial.batch == batch.batch && batch.best_lr && trial.lr == *batch.best_lr && trial.status == TrialStatus::kFinished) found.push_back(&trial);
  return found;
}

std::optional<double> joules_per_image(const SweepResult& sweep, const BatchSummary& batch) {
  double sum = 0;
  const std::vector<const TrialRecord*> trials = finalists(sweep, batch);
  for (const TrialRecord* trial : trials) {
    if (!trial->joules_per_image) return std::nullopt;
    sum += *trial->joules_per_image;
  }
  return trials.empty() ? std::nullopt : std::optional(sum / static_cast<double>(trials.size()));
}

std::optional<Chart> accuracy_chart(const SweepResult& sweep) {
  if (sweep.stop_at_target) return std::nullopt;  // there is no end of the schedule
  Chart chart = per_batch(batch_chart("Accuracy against batch size", {.title = "top-1 at the end of the schedule", .percent = true}), sweep,
                          [](const TrialRecord& trial) { return trial.final_top1; }, [](const BatchSummary& batch) { return batch.mean_top1; });
  if (!has_points(chart)) return std::nullopt;
  if (sweep.target) chart.rules.push_back({.label = fmt::format("target {}", percent_text(*sweep.target)), .value = *sweep.target});
  if (sweep.verdict.largest_without_loss)
    chart.rules.push_back(
        {.label = "largest batch without loss", .value = static_cast<double>(*sweep.verdict.largest_without_loss), .vertical = true});
  return chart;
}

namespace {

// What a rate did at a batch: a number to colour the cell by (NaN: none), and what stands in it.
struct RateCell {
  double value = kUnknown;
  std::string label;
};

RateCell accuracy_cell(const std::vector<const TrialRecord*>& trials) {
  double sum = 0;
  int finished = 0, diverged = 0;
  std::optional<double> partial;
  for (const TrialRecord* trial : trials) {
    if (trial->status == TrialStatus::kDiverged) ++diverged;
    else if (trial->status == TrialStatus::kFinished) sum += *trial->final_top1, ++finished;
    else partial = trial->final_top1;
  }
  if (finished > 0) return {100 * sum / finished, fmt::format("{:.2f}", 100 * sum / finished)};
  if (diverged > 0) return {kUnknown, "diverged"};
  return {kUnknown, partial ? fmt::format("({:.1f})", 100 * *partial) : ""};
}

RateCell target_cell(const std::vector<const TrialRecord*>& trials) {
  double sum = 0;
  int there = 0, diverged = 0;
  for (const TrialRecord* trial : trials) {
    if (trial->to_target) sum += trial->to_target->epochs, ++there;
    else if (trial->status == TrialStatus::kDiverged) ++diverged;
  }
  if (there > 0) return {sum / there, fmt::format("{:.2f}", sum / there)};
  if (diverged > 0) return {kUnknown, "diverged"};
  return {kUnknown, trials.empty() ? "" : fmt::format("({:.1f} %)", 100 * trials.front()->best_top1.value_or(0))};
}

}  // namespace

std::optional<Heatmap> rate_heatmap(const SweepResult& sweep) {
  std::map<std::pair<double, std::int64_t>, std::vector<const TrialRecord*>> cells;
  std::set<double, std::greater<>> rates;
  std::set<std::int64_t> batches;
  for (const TrialRecord& trial : sweep.trials) {
    if (trial.role == TrialRole::kProbe || !(trial.final_top1 || trial.status == TrialStatus::kDiverged)) continue;
    cells[{trial.lr, trial.batch}].push_back(&trial);
    rates.insert(trial.lr);
    batches.insert(trial.batch);
  }
  if (cells.empty()) return std::nullopt;
  const bool to_target = sweep.stop_at_target;
  Heatmap map{.title = to_target ? "Epochs to the target by learning rate and batch size" : "Accuracy by learning rate and batch size",
              .x_title = "global batch (samples)",
              .y_title = "peak learning rate",
              .value_title = to_target ? "epochs" : "top-1, %",
              .low_is_good = to_target,
              .width = 2 * kChartWidth + 20,
              .height = 130 + 26 * static_cast<int>(rates.size())};
  for (const std::int64_t batch : batches) map.columns.push_back(batch_text(batch));
  for (const double rate : rates) {
    map.rows.push_back(number_text(rate, 3));
    for (const std::int64_t batch : batches) {
      const RateCell cell = to_target ? target_cell(cells[{rate, batch}]) : accuracy_cell(cells[{rate, batch}]);
      map.values.push_back(cell.value);
      map.labels.push_back(cell.label);
    }
  }
  return map;
}

std::optional<Heatmap> progress_heatmap(const SweepResult& sweep) {
  std::map<double, std::map<std::int64_t, std::pair<double, int>>> rows;  // by epoch, then batch: sum and count
  Heatmap map{.title = "Accuracy while training, by batch size",
              .x_title = "global batch (samples)",
              .y_title = "epochs trained",
              .value_title = "top-1, %",
              .width = kChartWidth,
              .height = kChartHeight};
  std::vector<std::int64_t> batches;
  for (const BatchSummary& batch : sweep.batches) {
    const auto trials = finalists(sweep, batch);
    if (trials.empty()) continue;
    batches.push_back(batch.batch);
    map.columns.push_back(batch_text(batch.batch));
    for (const TrialRecord* trial : trials) {
      for (const TrialEvaluation& evaluation : trial->evaluations) {
        auto& cell = rows[std::round(evaluation.epoch * 2) / 2][batch.batch];
        cell.first += evaluation.top1;
        ++cell.second;
      }
    }
  }
  if (rows.empty()) return std::nullopt;
  constexpr std::size_t kMostRows = 16;
  const std::size_t stride = (rows.size() + kMostRows - 1) / kMostRows;
  std::size_t from_end = 0;
  for (auto row = rows.rbegin(); row != rows.rend(); ++row, ++from_end) {
    if (from_end % stride != 0) continue;
    map.rows.push_back(number_text(row->first, 3));
    for (const std::int64_t batch : batches) {
      const auto found = row->second.find(batch);
      const bool known = found != row->second.end();
      map.values.push_back(known ? 100 * found->second.first / found->second.second : kUnknown);
      map.labels.push_back(known ? fmt::format("{:.1f}", map.values.back()) : "");
    }
  }
  return map;
}

std::optional<Chart> accuracy_time_chart(const SweepResult& sweep) {
  Chart chart{.title = "Accuracy against training time", .x = {.title = "seconds of training (evaluation and saving left out)", .log = true},
              .y = {.title = "top-1", .percent = true}, .width = kChartWidth, .height = kChartHeight};
  for (const BatchSummary& batch : sweep.batches) {
    const auto trials = finalists(sweep, batch);
    if (trials.empty() || !trials.front()->images_per_second || !(*trials.front()->images_per_second > 0)) continue;
    const TrialRecord& trial = *trials.front();
    Series series{.name = fmt::format("batch {}", batch_text(batch.batch)), .style = Series::Style::kLine, .points = {}};
    for (const TrialEvaluation& evaluation : trial.evaluations)
      series.points.push_back({.x = static_cast<double>(evaluation.step) * static_cast<double>(batch.batch) / *trial.images_per_second,
                               .y = evaluation.top1,
                               .label = ""});
    chart.series.push_back(std::move(series));
  }
  if (sweep.target && has_points(chart))
    chart.rules.push_back({.label = fmt::format("target {}", percent_text(*sweep.target)), .value = *sweep.target});
  return if_any(std::move(chart));
}

std::optional<Chart> samples_chart(const SweepResult& sweep) {
  return to_target(
      "Samples to the target", "samples", sweep,
      [](const TrialRecord& trial) { return trial.to_target ? std::optional(static_cast<double>(trial.to_target->samples)) : std::nullopt; },
      &BatchSummary::samples_to_target, [](const BatchLaw& fit, double batch) { return fit.samples(batch); });
}

std::optional<Chart> steps_chart(const SweepResult& sweep) {
  return to_target(
      "Steps to the target", "steps", sweep,
      [](const TrialRecord& trial) { return trial.to_target ? std::optional(static_cast<double>(trial.to_target->steps)) : std::nullopt; },
      &BatchSummary::steps_to_target, [](const BatchLaw& fit, double batch) { return fit.steps(batch); });
}

std::optional<Chart> seconds_chart(const SweepResult& sweep) {
  return to_target(
      "Time to the target", "seconds of training", sweep,
      [](const TrialRecord& trial) { return trial.to_target ? trial.to_target->seconds : std::nullopt; }, &BatchSummary::seconds_to_target, nullptr);
}

std::optional<Chart> rates_chart(const SweepResult& sweep) {
  Chart chart = batch_chart("Best learning rate against batch size", {.title = "peak learning rate", .log = true});
  Series best{.name = "best found", .style = Series::Style::kLineAndPoints, .points = {}, .colour = 0};
  Series linear{.name = "linear rule", .style = Series::Style::kLine, .points = {}, .dashed = true, .colour = 1};
  Series root{.name = "square-root rule", .style = Series::Style::kLine, .points = {}, .dashed = true, .colour = 2};
  for (const BatchSummary& batch : sweep.batches) {
    const auto x = static_cast<double>(batch.batch);
    if (batch.linear_lr > 0) linear.points.push_back({.x = x, .y = batch.linear_lr, .label = ""});
    if (batch.sqrt_lr > 0) root.points.push_back({.x = x, .y = batch.sqrt_lr, .label = ""});
    if (batch.best_lr) best.points.push_back({.x = x, .y = *batch.best_lr, .label = ""});
  }
  if (best.points.empty()) return std::nullopt;
  chart.series = {std::move(best), std::move(linear), std::move(root)};
  chart.note = fmt::format("Both rules start from the config: batch {}, rate {}.", batch_text(sweep.base_batch), number_text(sweep.base_lr, 3));
  return chart;
}

}  // namespace lockstep
