// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "charts/number_text.h"
#include "report/sections.h"

namespace lockstep {
namespace {

std::string part_text(double milliseconds, double whole) {
  return whole > 0 ? fmt::format("{} ms ({})", number_text(milliseconds, 3), percent_text(milliseconds / whole, 1)) : "-";
}

std::string phase_text(const RunView& run, double (*part)(const StepPhases&)) {
  return run.figures.phases ? part_text(part(*run.figures.phases), run.figures.phases->whole) : "-";
}

std::string input_text(const RunView& run) {
  const auto& verdicts = run.data.notes("input.message");
  return verdicts.empty() ? "-" : verdicts.back().text;
}

// The loader's work by stage, of the newest judgement.
std::string stages_text(const RunView& run) {
  std::string text;
  for (const char* stage : {"read", "decode", "augment"}) {
    const auto& samples = run.data.samples(fmt::format("input.{}_frac", stage));
    if (!samples.empty() && std::isfinite(samples.back().value))
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", stage, percent_text(samples.back().value, 0));
  }
  return text.empty() ? "-" : text;
}

std::string saves_text(const RunView& run) {
  const auto& seconds = run.data.samples("ckpt.seconds");
  const auto& bytes = run.data.samples("ckpt.bytes");
  double longest = 0, largest = 0;
  for (const MetricSample& sample : seconds) longest = std::fmax(longest, sample.value);
  for (const MetricSample& sample : bytes) largest = std::fmax(largest, sample.value);
  if (seconds.empty()) return "-";
  return fmt::format("{} ({} kept), up to {} and {} each, beside the training", seconds.size(), run.data.checkpoints, bytes_text(largest),
                     duration_text(longest));
}

std::string energy_per_image(const RunView& run) {
  if (!run.figures.joules || run.figures.global_batch == 0 || run.figures.steps == 0) return "-";
  return number_text(*run.figures.joules / (static_cast<double>(run.figures.steps) * static_cast<double>(run.figures.global_batch)), 3) + " J";
}

void add_chart(Page& page, const std::vector<RunView>& runs, const std::string& title, const std::string& key, const Axis& y) {
  Chart chart;
  chart.title = title;
  chart.x.title = "epoch";
  chart.x.min = 0;
  chart.y = y;
  chart.width = kChartWidth;
  chart.height = kChartHeight;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto& samples = runs[i].data.samples(key);
    if (samples.empty()) continue;
    Series series{.name = runs.size() == 1 ? "" : runs[i].data.name, .style = Series::Style::kLine, .points = {}, .colour = static_cast<int>(i)};
    for (const MetricSample& sample : samples) series.points.push_back({.x = sample.epoch, .y = sample.value, .label = ""});
    chart.series.push_back(std::move(series));
  }
  if (!chart.series.empty()) page.chart(chart);
}

}  // namespace

void add_resources(Page& page, const std::vector<RunView>& runs) {
  const bool any = std::any_of(runs.begin(), runs.end(),
                               [](const RunView& run) { return run.figures.phases || run.figures.host_peak_bytes || !run.data.memory_plan.empty(); });
  if (!any) return;
  page.heading("Time, input and memory");
  FactTable table(runs);
  table.row("a step", [](const RunView& run) { return run.figures.phases ? number_text(run.figures.phases->whole, 3) + " ms" : "-"; });
  table.row("\u2014 waiting for input", [](const RunView& run) { return phase_text(run, [](const StepPhases& p) { return p.input; }); });
  table.row("\u2014 waiting for other ranks' gradients",
            [](const RunView& run) { return phase_text(run, [](const StepPhases& p) { return p.reduce; }); });
  table.row("\u2014 forward, backward, update", [](const RunView& run) { return phase_text(run, [](const StepPhases& p) { return p.rest(); }); });
  table.row("the GPU's own time of a step", [](const RunView& run) {
    return run.figures.phases && run.figures.phases->device ? number_text(*run.figures.phases->device, 3) + " ms" : "-";
  });
  table.row("input pipeline", input_text);
  table.row("the loader's work", stages_text);
  table.row("host memory, peak of rank 0",
            [](const RunView& run) { return run.figures.host_peak_bytes ? bytes_text(*run.figures.host_peak_bytes) : "-"; });
  table.row("memory as planned", [](const RunView& run) { return run.data.memory_plan; });
  table.row("checkpoints saved", saves_text);
  table.row("energy per trained image", energy_per_image);
  page.table(table.table("Means over the whole run; a step's parts add up to the step"));
  add_chart(page, runs, "Speed", "perf.images_per_sec", {.title = "images/s, all ranks together", .min = 0});
  add_chart(page, runs, "Waiting for input", "perf.input_wait_frac", {.title = "share of the time", .min = 0, .percent = true});
  add_chart(page, runs, "Waiting for gradients of other ranks", "perf.allreduce_exposed_ms",
            {.title = "ms a step, not hidden behind the backward pass", .min = 0});
  add_chart(page, runs, "Time of a step on the GPU", "perf.gpu_ms", {.title = "ms", .min = 0});
  add_chart(page, runs, "Host memory", "perf.host_peak_gb", {.title = "GB, peak so far of rank 0", .min = 0});
  add_chart(page, runs, "Loss scale", "perf.loss_scale", {.title = "FP16 loss scale", .log = true});
}

}  // namespace lockstep
