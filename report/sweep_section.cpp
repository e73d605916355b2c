// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "charts/number_text.h"
#include "report/sections.h"
#include "report/sweep_charts.h"

namespace lockstep {
namespace {

TableCell number_cell(std::optional<double> value, int digits = 4) { return {.text = value ? number_text(*value, digits) : "-", .number = true}; }
TableCell percent_cell(std::optional<double> value) { return {.text = value ? percent_text(*value) : "-", .number = true}; }
TableCell count_cell(std::int64_t value) { return {.text = number_text(static_cast<double>(value)), .number = true}; }
TableCell time_cell(std::optional<double> seconds) { return {.text = seconds ? duration_text(*seconds) : "-", .number = true}; }

std::string spread_text(const BatchSummary& batch) {
  if (!batch.mean_top1) return "-";
  return batch.sd_top1 ? fmt::format("{} \u00b1 {}", percent_text(*batch.mean_top1), number_text(*batch.sd_top1 * 100, 2))
                       : percent_text(*batch.mean_top1);
}

std::string difference_text(const BatchSummary& batch) {
  if (!batch.difference) return "-";
  std::string text = fmt::format("{:+.2f}", *batch.difference * 100);
  if (batch.difference_low && batch.difference_high)
    text += fmt::format(" ({:+.2f} to {:+.2f})", *batch.difference_low * 100, *batch.difference_high * 100);
  return text;
}

Table batch_table(const SweepResult& sweep) {
  Table table{.header = {"batch", "best rate", "top-1", "against the best", sweep.stop_at_target ? "there" : "no loss", "reached",
                         "epochs to target", "samples to target", "steps to target", "time to target", "images/s", "ms a step"},
              .rows = {},
              .caption =
                  "Each batch size at its best learning rate; means over the seeds, with their standard deviation; the difference in points of "
                  "top-1, with Welch's 95 % interval"};
  for (const BatchSummary& batch : sweep.batches) {
    table.rows.push_back({count_cell(batch.batch),
                          {.text = batch.best_lr ? number_text(*batch.best_lr, 3) + (batch.at_edge ? " (edge)" : "") : "-", .number = true},
                          {.text = spread_text(batch), .number = true},
                          {.text = difference_text(batch), .number = true},
                          {.text = batch.complete ? (batch.without_loss ? "yes" : "no") : "-", .strong = batch.without_loss},
                          {.text = fmt::format("{} of {}", batch.reached, batch.seeds), .number = true},
                          number_cell(batch.epochs_to_target, 3),
                          number_cell(batch.samples_to_target, 3),
                          number_cell(batch.steps_to_target, 3),
                          time_cell(batch.seconds_to_target),
                          number_cell(batch.images_per_second, 3),
                          number_cell(batch.milliseconds_per_step, 3)});
  }
  return table;
}

Table trial_table(const SweepResult& sweep) {
  Table table{.header = {"batch", "rate", "seed", "role", "status", "epochs", "top-1, last", "top-1, best", "steps to target", "images/s", "time",
                         "J per image", "critical batch", "digest", "folder", ""},
              .rows = {},
              .caption = ""};
  for (const TrialRecord& trial : sweep.trials) {
    table.rows.push_back({count_cell(trial.batch),
                          number_cell(trial.lr, 3),
                          {.text = std::to_string(trial.seed), .number = true},
                          {.text = std::string(trial_role_name(trial.role))},
                          {.text = std::string(trial_status_name(trial.status))},
                          number_cell(trial.epochs, 3),
                          percent_cell(trial.final_top1),
                          percent_cell(trial.best_top1),
                          trial.to_target ? count_cell(trial.to_target->steps) : TableCell{.text = "-", .number = true},
                          number_cell(trial.images_per_second, 3),
                          time_cell(trial.seconds),
                          number_cell(trial.joules_per_image, 3),
                          number_cell(trial.noise_scale, 2),
                          {.text = trial.digest.substr(0, 12)},
                          {.text = trial.folder},
                          {.text = trial.message}});
  }
  return table;
}

void add_state(Page& page, const SweepResult& sweep) {
  if (!sweep.complete) {
    std::string text = "The sweep is not complete; what follows is what is known so far.";
    for (const std::string& missing : sweep.missing) text += " " + missing + (missing.ends_with('.') ? "" : ".");
    page.warning(text);
  }
  for (const std::string& sentence : sweep.verdict.text) page.verdict(sentence);
  if (!sweep.best_config.empty()) page.paragraph("The config to use: " + sweep.best_config + " in the sweep's folder.");
}

void add_frame(Page& page, const SweepResult& sweep) {
  std::string text =
      fmt::format("{}: {} trials of {} on {} training images, schedules of {} epochs, from batch {} at rate {}.", sweep.name, sweep.trials.size(),
                  sweep.model, number_text(static_cast<double>(sweep.train_samples)), number_text(sweep.schedule_epochs),
                  number_text(static_cast<double>(sweep.base_batch)), number_text(sweep.base_lr, 3));
  if (sweep.target)
    text += fmt::format(" Target: {} of {} evaluation images, looked at every {}.", percent_text(*sweep.target),
                        number_text(static_cast<double>(sweep.eval_samples)),
                        sweep.evaluation_epochs == 1 ? "epoch" : number_text(sweep.evaluation_epochs, 3) + " epochs");
  page.paragraph(text);
}

// Energy: known, or why not.
void add_energy(Page& page, const SweepResult& sweep) {
  std::set<std::string> reasons;
  for (const TrialRecord& trial : sweep.trials)
    if (trial.status == TrialStatus::kFinished && !trial.joules_per_image)
      reasons.insert(trial.energy_source.empty() ? "not recorded" : trial.energy_source);
  if (reasons.empty()) return;
  std::string text = "Energy is not known";
  const bool some =
      std::any_of(sweep.trials.begin(), sweep.trials.end(), [](const TrialRecord& trial) { return trial.joules_per_image.has_value(); });
  if (some) text += " for some trials";
  for (const std::string& reason : reasons) text += (reason == *reasons.begin() ? ": " : "; ") + reason;
  page.paragraph(text + ".");
}

template <class Picture>
void add(Page& page, const std::optional<Picture>& picture) {
  if (picture) page.chart(*picture);
}

}  // namespace

void add_sweep(Page& page, const SweepResult& sweep, const std::string& name, bool alone) {
  const auto section = [&](const char* title) { alone ? page.heading(title) : page.sub_heading(title); };
  page.heading(alone ? "The answer" : fmt::format("Sweep {}", name));
  add_state(page, sweep);
  add_frame(page, sweep);
  if (!sweep.batches.empty()) page.table(batch_table(sweep));
  section(sweep.stop_at_target ? "Batch size and learning rate" : "Accuracy, batch size and learning rate");
  add(page, accuracy_chart(sweep));
  add(page, rates_chart(sweep));
  if (const auto map = rate_heatmap(sweep)) {
    page.chart(*map);
    page.paragraph(
        sweep.stop_at_target
            ? "A cell is the mean over the seeds that came there. In brackets: a trial that did not, with the best accuracy it had; the best cell "
              "has a frame."
            : "A cell is the mean over the seeds that finished. In brackets: a trial that was dropped on the way, with what it had then reached; "
              "the best cell has a frame.");
  }
  section("The way to the target");
  const auto reached = [](const BatchSummary& batch) { return batch.samples_to_target.has_value(); };
  if (!sweep.target) page.paragraph("The sweep has no target.");
  else if (std::none_of(sweep.batches.begin(), sweep.batches.end(), reached))
    page.paragraph("No batch size has reached the target with all its seeds.");
  add(page, samples_chart(sweep));
  add(page, steps_chart(sweep));
  add(page, seconds_chart(sweep));
  add(page, accuracy_time_chart(sweep));
  add(page, progress_heatmap(sweep));
  section("Trade-offs");
  if (sweep.stop_at_target) page.paragraph("Trials stopped at the target: there are no final accuracies to trade for speed.");
  else
    for (const Chart& chart : pareto_charts(sweep)) page.chart(chart);
  add_energy(page, sweep);
  page.details(fmt::format("All {} trials", sweep.trials.size()), trial_table(sweep));
}

}  // namespace lockstep
