// SPDX-License-Identifier: Apache-2.0
#include "report/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "charts/number_text.h"

namespace lockstep {
namespace {

double to_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value) ? value : 0;
}

std::int64_t to_integer(const std::string& text) {
  const double value = to_number(text);
  return value > 0 && value < 9e15 ? static_cast<std::int64_t>(value) : 0;
}

std::optional<double> last_finite(const std::vector<MetricSample>& samples) {
  for (auto sample = samples.rbegin(); sample != samples.rend(); ++sample)
    if (std::isfinite(sample->value)) return sample->value;
  return std::nullopt;
}

std::optional<double> largest(const std::vector<MetricSample>& samples) {
  std::optional<double> best;
  for (const MetricSample& sample : samples)
    if (std::isfinite(sample.value)) best = std::max(best.value_or(sample.value), sample.value);
  return best;
}

// The value of another key in the record of the same step; records of a kind are written together.
std::optional<double> same_step(const std::vector<MetricSample>& samples, std::int64_t step) {
  for (const MetricSample& sample : samples)
    if (sample.step == step && std::isfinite(sample.value)) return sample.value;
  return std::nullopt;
}

// Seconds before the first record.
double first_interval(const RunData& run, std::int64_t global_batch) {
  const auto& rates = run.samples("perf.images_per_sec");
  if (rates.empty() || !(rates.front().value > 0)) return 0;
  return static_cast<double>(rates.front().step) * static_cast<double>(global_batch) / rates.front().value;
}

// The last record, whichever kind, says how far it got.
void find_extent(const RunData& run, RunFigures& figures) {
  double first = NAN, last = NAN, steps_per_epoch = 0;  // times of records
  for (const auto& [key, samples] : run.numbers) {
    for (const MetricSample& sample : samples) {
      if (sample.step > figures.steps) figures.steps = sample.step, figures.epochs = sample.epoch;
      if (sample.epoch > 0) steps_per_epoch = std::max(steps_per_epoch, static_cast<double>(sample.step) / sample.epoch);
      if (!std::isfinite(sample.time)) continue;
      first = std::fmin(first, sample.time);
      last = std::fmax(last, sample.time);
    }
  }
  if (last > first) figures.wall_seconds = last - first + first_interval(run, figures.global_batch);
  figures.planned_epochs = to_number(run.config_value("epochs"));
  const double planned = std::round(figures.planned_epochs * steps_per_epoch);
  if (planned > 0 && planned < 9e15) figures.total_steps = static_cast<std::int64_t>(planned);
  const std::int64_t most = to_integer(run.config_value("max_steps"));
  if (most > 0 && (figures.total_steps == 0 || most < figures.total_steps)) figures.total_steps = most;
}

// A record of kind perf is about the steps since the one before it. After a resume it is about those since then, and the few between
// the record before and the checkpoint are taken to have gone as fast.
void find_times(const RunData& run, RunFigures& figures) {
  const auto& rates = run.samples("perf.images_per_sec");
  const auto& waits = run.samples("perf.input_wait_frac");
  const auto& reduces = run.samples("perf.allreduce_exposed_ms");
  const bool aligned = waits.size() == rates.size() && reduces.size() == rates.size();
  double seconds = 0, images = 0, wait = 0, reduce = 0, steps = 0;
  std::int64_t before = 0;
  for (std::size_t i = 0; i < rates.size(); ++i) {
    const auto interval = static_cast<double>(rates[i].step - before);
    before = rates[i].step;
    if (interval <= 0 || !(rates[i].value > 0) || !std::isfinite(rates[i].value) || figures.global_batch <= 0) continue;
    const double time = interval * static_cast<double>(figures.global_batch) / rates[i].value;
    seconds += time;
    images += interval * static_cast<double>(figures.global_batch);
    steps += interval;
    if (aligned && std::isfinite(waits[i].value)) wait += waits[i].value * time;
    if (aligned && std::isfinite(reduces[i].value)) reduce += reduces[i].value * interval;
  }
  if (!(seconds > 0)) return;
  figures.train_seconds = seconds;
  figures.images_per_second = images / seconds;
  figures.phases = StepPhases{
      .whole = 1000 * seconds / steps, .input = 1000 * wait / steps, .reduce = reduce / steps, .device = last_finite(run.samples("perf.gpu_ms"))};
}

void find_accuracy(const RunData& run, RunFigures& figures) {
  const auto& top1 = run.samples("val.top1");
  for (const MetricSample& sample : top1) {
    if (!std::isfinite(sample.value)) continue;
    if (!figures.best_top1 || sample.value > *figures.best_top1) figures.best_top1 = sample.value, figures.best_epoch = sample.epoch;
    figures.final_top1 = sample.value;
    figures.final_top5 = same_step(run.samples("val.top5"), sample.step);
  }
  const auto& bands = run.notes("val.band");
  if (!bands.empty() && !top1.empty() && bands.back().step == top1.back().step) figures.band = bands.back().text;
}

void find_energy(const RunData& run, RunFigures& figures) {
  double sum = 0;
  for (const MetricSample& sample : run.samples("energy.energy_joules"))
    if (std::isfinite(sample.value)) sum += sample.value;
  if (sum > 0) figures.joules = sum;
  const auto& sources = run.notes("energy.energy_source");
  figures.energy_source = sources.empty() ? "not recorded" : sources.back().text;
}

std::string state_of(const RunData& run, const RunFigures& figures) {
  if (figures.steps == 0) return "no step recorded";
  if (figures.total_steps > 0 && figures.steps >= figures.total_steps) return "finished";
  const double target = to_number(run.config_value("evaluation.stop_at_top1")) / 100;
  if (target > 0 && figures.best_top1.value_or(0) >= target)
    return fmt::format("reached {} at step {}", percent_text(target), number_text(static_cast<double>(figures.steps)));
  if (figures.total_steps > 0)
    return fmt::format("at step {} of {}", number_text(static_cast<double>(figures.steps)), number_text(static_cast<double>(figures.total_steps)));
  return fmt::format("at step {}", number_text(static_cast<double>(figures.steps)));
}

}  // namespace

double StepPhases::rest() const { return std::max(0.0, whole - input - reduce); }

RunFigures figures_of(const RunData& run) {
  RunFigures figures;
  figures.global_batch = to_integer(run.config_value("batch.global_batch"));
  find_extent(run, figures);
  find_times(run, figures);
  find_accuracy(run, figures);
  find_energy(run, figures);
  figures.train_loss = last_finite(run.samples("train.loss"));
  figures.noise_scale = last_finite(run.samples("train.noise_scale"));
  if (const auto peak = largest(run.samples("perf.host_peak_gb"))) figures.host_peak_bytes = *peak * 1e9;
  figures.skipped_steps = static_cast<std::int64_t>(std::clamp(largest(run.samples("perf.skipped_steps")).value_or(0), 0.0, 9e15));
  figures.state = state_of(run, figures);
  return figures;
}

}  // namespace lockstep
