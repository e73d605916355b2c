// A plan in words for a terminal.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "charts/number_text.h"
#include "planning/plan.h"
#include "planning/published.h"
#include "planning/units.h"
#include "proto/config.pb.h"
#include "train/schedule.h"

namespace lockstep {
namespace {

class Text {
 public:
  void line(const std::string& name, const std::string& value) { text_ += fmt::format("{:<17}{}\n", name, value); }
  void raw(const std::string& text) { text_ += text; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string plural(std::int64_t count, const char* word) { return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s"); }

void add_run(const TrainingPlan& plan, Text& text) {
  const DryRun& run = plan.run;
  const proto::Config& config = run.loaded.config();
  text.line("plan", fmt::format("{} with {}; no data was opened", run.loaded.file(), plural(run.plan.ranks, "rank")));
  text.line("model", fmt::format("{}, {} parameters, {} classes", run.model, run.parameters, run.classes));
  for (const auto& [name, value] : describe_plan(config, run.plan, Schedule(config, run.plan.steps_per_epoch))) text.line(name, value);
  text.line("image sizes",
            fmt::format("{}; evaluation {} x {}", SizePhases(config, run.image, run.plan).describe(), run.image.height, run.image.width));
  text.line("optimizer", run.optimizer);
}

void add_memory(const TrainingPlan& plan, Text& text) {
  const MemoryEstimate& memory = plan.memory;
  std::string kinds;
  for (const auto& [kind, bytes] : {std::pair("weights", memory.weights), {"16-bit copies", memory.compute_copies}, {"momentum", memory.momentum},
                                    {"statistics", memory.statistics}, {"average", memory.average}, {"gradients", memory.gradients},
                                    {"activations", memory.activations}, {"input", memory.input}})
    if (bytes > 0) kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", kind, bytes_text(bytes));
  text.line("memory per rank", fmt::format("{}: {}", bytes_text(memory.total()), kinds));
  text.line("", "rehearsed with the CPU's kernels; a GPU's workspaces come on top");
  if (plan.device_bytes > 0)
    text.line("largest shard", plan.largest_shard > 0
                                   ? fmt::format("{} images in {} ({}); each takes {}", plan.largest_shard, bytes_text(plan.device_bytes),
                                                 plan.options.device->name, bytes_text(memory.growing()))
                                   : fmt::format("not one image fits into {}", bytes_text(plan.device_bytes)));
}

std::string algorithms_text(const SimulationResult& simulation) {
  std::string list;
  for (std::size_t b = 0; b < simulation.algorithms.size(); ++b) {
    const std::string name(algorithm_name(simulation.algorithms[b]));
    if (list.find(name) == std::string::npos) list += fmt::format("{}{}", list.empty() ? "" : ", ", name);
  }
  return list;
}

void add_step(const TrainingPlan& plan, Text& text) {
  const StepPrediction& step = *plan.step;
  const SimulationResult& s = step.simulation;
  text.line("basis", plan.compute->basis);
  if (plan.options.cluster && plan.options.ranks > 1)
    text.line("network",
              fmt::format("{}; ranks and links vary by {:.1f} %", plan.options.cluster->name,
                          100 * (plan.options.straggler_share >= 0 ? plan.options.straggler_share : plan.options.cluster->straggler_share)));
  text.line("step",
            fmt::format("{}: forward {}, backward {}, stragglers {}, exposed communication {}, update {}{}", time_text(s.step_s),
                        time_text(step.forward_s), time_text(step.backward_s), time_text(s.straggler_s), time_text(s.exposed_s),
                        time_text(s.update_s), step.norm_sync_s > 0 ? fmt::format(", batch norm across ranks {}", time_text(step.norm_sync_s)) : ""));
  text.line("speed",
            fmt::format("{} images/s, {} per rank", number_text(step.images_per_second()), number_text(step.images_per_second() / step.job.ranks)));
  if (step.job.ranks == 1) return;
  double bytes = 0;
  for (const SimulatedBucket& bucket : step.step.buckets) bytes += bucket.bytes;
  text.line("all-reduce", fmt::format("{} in {} by {}: {}, {:.0f} % hidden behind computing", bytes_text(bytes),
                                      plural(static_cast<std::int64_t>(step.step.buckets.size()), "bucket"), algorithms_text(s),
                                      time_text(s.communication_s), 100 * s.hidden_share()));
  text.line("efficiency", fmt::format("{:.1f} % of as many ranks alone", 100 * s.efficiency()));
}

void add_totals(const TrainingPlan& plan, Text& text) {
  const PlanTotals& totals = *plan.totals;
  text.line("to the end", fmt::format("{}: training {}, {} {}, {} {}, start {}", duration_text(totals.seconds()), duration_text(totals.training_s),
                                      plural(plan.run.evaluations, "evaluation"), duration_text(totals.evaluation_s),
                                      plural(plan.run.saves, "checkpoint"), duration_text(totals.checkpoint_s), duration_text(totals.start_s)));
  if (totals.joules > 0) text.line("energy", fmt::format("{} (the devices, at their power limit while they compute)", energy_text(totals.joules)));
  else text.line("energy", "not known: the device's power is not known");
  if (totals.cost > 0)
    text.line("cost", fmt::format("{:.2f} {} at {:g} {} an hour and device", totals.cost, plan.options.currency, plan.options.price_per_hour,
                                  plan.options.currency));
}

void add_scaling(const TrainingPlan& plan, Text& text) {
  const std::vector<ScalingPoint> points = plan_scaling(plan);
  if (points.size() < 2) return;
  text.raw(fmt::format("\n{:>8}{:>8}{:>12}{:>12}{:>12}{:>12}\n", "ranks", "shards", "step", "images/s", "exposed", "efficiency"));
  for (const ScalingPoint& point : points) {
    const SimulationResult& s = point.step.simulation;
    text.raw(fmt::format("{:>8}{:>8}{:>12}{:>12}{:>12}{:>11.1f}%\n", point.ranks, point.step.job.shards_per_rank, time_text(s.step_s),
                         number_text(point.step.images_per_second()), time_text(s.exposed_s), 100 * s.efficiency()));
  }
}

}  // namespace

std::string plan_text(const TrainingPlan& plan) {
  Text text;
  add_run(plan, text);
  add_memory(plan, text);
  if (plan.step) {
    add_step(plan, text);
    add_totals(plan, text);
  } else {
    text.line("step", "not predicted: name a device (--device h100), or give measured kernels (--kernels FILE)");
  }
  text.line("checkpoints", fmt::format("{} each, {} kept", bytes_text(static_cast<double>(plan.run.checkpoint_bytes)), plan.run.checkpoints));
  for (const std::string& note : plan.run.notes) text.line("note", note);
  add_scaling(plan, text);
  text.raw(fmt::format("\n{}\n", text_chart(rate_chart(plan), 100, 14)));
  for (const PlanWarning& warning : plan.warnings) text.line("warning", warning.text);
  if (plan.warnings.empty()) text.line("warnings", "none");
  return text.take();
}

}  // namespace lockstep
