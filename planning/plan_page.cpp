// A plan as one self-contained page.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "charts/number_text.h"
#include "charts/page.h"
#include "planning/plan.h"
#include "planning/units.h"
#include "train/schedule.h"

namespace lockstep {
namespace {

using Row = std::vector<TableCell>;

Row fact(const std::string& name, const std::string& value) { return {{.text = name}, {.text = value}}; }
TableCell number(const std::string& text) { return {.text = text, .number = true}; }

void add_verdict(const TrainingPlan& plan, Page& page) {
  if (!plan.totals) {
    page.paragraph("No step time: name a device (--device), or give measured kernels (--kernels).");
    return;
  }
  const PlanTotals& totals = *plan.totals;
  page.verdict(fmt::format("{} on {} ranks: {} images/s{}{}", duration_text(totals.seconds()), plan.options.ranks,
                           number_text(plan.step->images_per_second()), totals.joules > 0 ? fmt::format(", {}", energy_text(totals.joules)) : "",
                           totals.cost > 0 ? fmt::format(", {:.2f} {}", totals.cost, plan.options.currency) : ""));
}

void add_run(const TrainingPlan& plan, Page& page) {
  Table table{.header = {"", ""}};
  table.rows.push_back(fact("model", fmt::format("{}, {} parameters", plan.run.model, plan.run.parameters)));
  for (const auto& [name, value] :
       describe_plan(plan.run.loaded.config(), plan.run.plan, Schedule(plan.run.loaded.config(), plan.run.plan.steps_per_epoch)))
    table.rows.push_back(fact(name, value));
  table.rows.push_back(fact("optimizer", plan.run.optimizer));
  page.table(table);
  page.chart(rate_chart(plan));
}

void add_step(const TrainingPlan& plan, Page& page) {
  page.heading("A step");
  const StepPrediction& step = *plan.step;
  const SimulationResult& s = step.simulation;
  page.paragraph(plan.compute->basis);
  Table table{.header = {"part", "time", "share"}};
  const auto row = [&](const char* name, double seconds) {
    table.rows.push_back({{.text = name}, number(time_text(seconds)), number(percent_text(seconds / s.step_s, 1))});
  };
  row("forward passes", step.forward_s);
  row("backward passes", step.backward_s);
  if (step.norm_sync_s > 0) row("batch norm across ranks", step.norm_sync_s);
  row("waiting for the slowest rank", s.straggler_s);
  row("exposed communication", s.exposed_s);
  row("update", s.update_s);
  row("step", s.step_s);
  page.table(table);
  page.chart(timeline_chart(plan));
  const std::vector<ScalingPoint> points = plan_scaling(plan);
  if (points.size() < 2) return;
  page.heading("Number of ranks");
  Table scaling{.header = {"ranks", "step", "images/s", "exposed", "efficiency"}};
  for (const ScalingPoint& point : points)
    scaling.rows.push_back({number(std::to_string(point.ranks)), number(time_text(point.step.step_s())),
                            number(number_text(point.step.images_per_second())), number(time_text(point.step.simulation.exposed_s)),
                            number(percent_text(point.step.simulation.efficiency(), 1))});
  page.table(scaling);
  page.chart(scaling_chart(plan, points));
}

void add_memory(const TrainingPlan& plan, Page& page) {
  page.heading("Memory of a rank");
  const MemoryEstimate& memory = plan.memory;
  Table table{.header = {"kind", "size"}};
  const auto row = [&](const char* name, double bytes) { table.rows.push_back({{.text = name}, number(bytes_text(bytes))}); };
  row("weights", memory.weights);
  row("16-bit copies", memory.compute_copies);
  row("momentum", memory.momentum);
  row("running statistics", memory.statistics);
  row("average of the weights", memory.average);
  row("gradients", memory.gradients);
  row("activations and scratch", memory.activations);
  row("images waiting", memory.input);
  row("all", memory.total());
  if (plan.device_bytes > 0) row("the device has", plan.device_bytes);
  page.table(table);
  if (plan.device_bytes > 0) page.paragraph(fmt::format("Largest shard that fits: {} images.", plan.largest_shard));
}

}  // namespace

std::string plan_html(const TrainingPlan& plan) {
  Page page("Plan of " + plan.run.loaded.file());
  add_verdict(plan, page);
  for (const PlanWarning& warning : plan.warnings) page.warning(warning.text);
  page.heading("The run");
  add_run(plan, page);
  if (plan.step) add_step(plan, page);
  add_memory(plan, page);
  return page.html();
}

}  // namespace lockstep
