// SPDX-License-Identifier: Apache-2.0
#include "sweep/sweep_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "charts/number_text.h"
#include "proto/config.pb.h"

namespace lockstep {
namespace {

constexpr std::size_t kLineWidth = 110;

std::string rates_text(const std::vector<double>& rates) {
  std::string text;
  for (const double rate : rates) text.append(text.empty() ? "" : " ").append(lr_text(rate));
  return text;
}

// Rates that each rung trains if none diverges.
std::vector<std::size_t> rates_by_rung(const SweepPlan& plan, const BatchPlan& batch) {
  std::vector<std::size_t> rates{batch.lrs.size()};
  while (rates.size() < static_cast<std::size_t>(plan.rungs()))
    rates.push_back(std::min(rates.back(), std::max(static_cast<std::size_t>(plan.options.keep), (rates.back() + 2) / 3)));
  return rates;
}

// Epochs that the batch's trials take in all.
double epochs_of(const SweepPlan& plan, const BatchPlan& batch) {
  const std::vector<std::size_t> rates = rates_by_rung(plan, batch);
  double steps = static_cast<double>(batch.total_steps) * static_cast<double>(plan.seeds.size() - 1);
  std::int64_t before = 0;
  for (std::size_t rung = 0; rung < rates.size(); ++rung) {
    steps += static_cast<double>(rates[rung]) * static_cast<double>(batch.rung_steps[rung] - before);
    before = batch.rung_steps[rung];
  }
  return steps / static_cast<double>(batch.steps_per_epoch);
}

double epochs_in_all(const SweepPlan& plan) {
  double epochs = plan.probe ? plan.base.config().epochs() : 0;  // at most: the probe may be one of the trials
  for (const BatchPlan& batch : plan.batches) epochs += epochs_of(plan, batch);
  return epochs;
}

std::string cell(const std::optional<double>& value, const char* format) { return value ? fmt::format(fmt::runtime(format), *value) : "-"; }

// Breaks a paragraph between words.
std::string wrapped(const std::string& paragraph, const std::string& indent) {
  std::string text, line;
  std::size_t at = 0;
  while (at < paragraph.size()) {
    const std::size_t end = std::min(paragraph.find(' ', at), paragraph.size());
    const std::string word = paragraph.substr(at, end - at);
    if (!line.empty() && line.size() + 1 + word.size() > kLineWidth) {
      text += line + "\n" + indent;
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
    at = end + 1;
  }
  return text + line + "\n";
}

std::string_view standing(const SweepResult& result, const BatchSummary& batch) {
  if (!batch.complete) return "not complete";
  if (!batch.best_lr) return "diverged";
  if (result.stop_at_target) return batch.without_loss ? "there" : "not there";
  return batch.without_loss ? "no loss" : "loss";
}

std::string row(const SweepResult& result, const BatchSummary& batch) {
  const std::string accuracy =
      batch.mean_top1 ? fmt::format("{:.2f}", 100 * *batch.mean_top1) + (batch.sd_top1 ? fmt::format(" +- {:.2f}", 100 * *batch.sd_top1) : "") : "-";
  return fmt::format("{:>9} {:>6} {:>9} {:>9} {:>9} {:>16} {:>7} {:>8} {:>9} {:>13} {:>9} {:>9}  {}\n", number_text(static_cast<double>(batch.batch)),
                     batch.shard_batch, cell(batch.best_lr, "{:.6g}"), lr_text(batch.linear_lr), lr_text(batch.sqrt_lr), accuracy,
                     fmt::format("{}/{}", batch.reached, result.seeds.size()), cell(batch.epochs_to_target, "{:.2f}"),
                     cell(batch.steps_to_target, "{:.0f}"), cell(batch.samples_to_target, "{:.0f}"),
                     batch.seconds_to_target ? duration_text(*batch.seconds_to_target) : "-", cell(batch.images_per_second, "{:.0f}"),
                     standing(result, batch));
}

}  // namespace

std::string plan_text(const SweepPlan& plan) {
  std::string text =
      fmt::format("sweep of {}: config's batch {} at learning rate {}, {} epochs, {} training and {} evaluation images\n", plan.base.config().name(),
                  plan.base_batch, lr_text(plan.base_lr), plan.base.config().epochs(), plan.data.train, plan.data.eval);
  text += fmt::format("{:>9} {:>6} {:>7} {:>9} {:>8} {:>18}  {}\n", "batch", "shard", "shards", "steps", "warm-up", "rungs end at step",
                      "learning rates");
  for (const BatchPlan& batch : plan.batches) {
    std::string rungs;
    for (const std::int64_t step : batch.rung_steps) rungs.append(rungs.empty() ? "" : " ").append(std::to_string(step));
    text += fmt::format("{:>9} {:>6} {:>7} {:>9} {:>8.4g} {:>18}  {}\n", number_text(static_cast<double>(batch.batch)), batch.shard_batch,
                        batch.batch / batch.shard_batch, batch.total_steps, batch.warmup_epochs, rungs, rates_text(batch.lrs));
  }
  text += fmt::format("each rung keeps the best third of a batch's rates, at least {}; the best at the end is trained with {} seed{}\n",
                      plan.options.keep, plan.seeds.size(), plan.seeds.size() > 1 ? "s" : "");
  if (plan.options.target) text += fmt::format("target: {} top-1\n", percent_text(*plan.options.target));
  if (plan.options.stop_at_target) text += "trials stop at the target, the probe does not\n";
  text += plan.probe ? fmt::format("probe: {}, whose gradient noise predicts the critical batch\n", plan.probe->name()) : plan.probe_note + "\n";
  text += fmt::format("in all at most {:.4g} epochs = {} images\n", epochs_in_all(plan),
                      number_text(std::round(epochs_in_all(plan) * static_cast<double>(plan.data.train))));
  for (const std::string& note : plan.notes) text += fmt::format("note: {}", wrapped(note, "      "));
  return text;
}

std::string plan_json(const SweepPlan& plan) {
  nlohmann::ordered_json object{
      {"folder", plan.folder}, {"base_batch", plan.base_batch}, {"base_lr", plan.base_lr}, {"epochs", plan.base.config().epochs()}};
  object["seeds"] = plan.seeds;
  object["rungs"] = plan.options.rungs;
  object["probe"] = plan.probe ? nlohmann::ordered_json(plan.probe->name()) : nlohmann::ordered_json();
  object["epochs_in_all"] = epochs_in_all(plan);
  object["notes"] = plan.notes;
  for (const BatchPlan& batch : plan.batches)
    object["batches"].push_back({{"batch", batch.batch},
                                 {"shard_batch", batch.shard_batch},
                                 {"lrs", batch.lrs},
                                 {"linear_lr", batch.linear_lr},
                                 {"sqrt_lr", batch.sqrt_lr},
                                 {"warmup_epochs", batch.warmup_epochs},
                                 {"total_steps", batch.total_steps},
                                 {"rung_steps", batch.rung_steps}});
  return object.dump(1);
}

std::string progress_line(const SweepPlan& plan, const TrialTask& task, const TrialProgress& progress, int remaining) {
  const BatchPlan& batch = plan.of(task.key.batch);
  std::string found;
  if (progress.diverged)
    found = "diverged: " + progress.message;
  else if (const auto top1 = top1_at(batch, task.rung, progress))
    found = fmt::format("top-1 {:>7}", percent_text(*top1));
  else if (is_there(plan, progress))
    found = fmt::format("there at epoch {:.4g}", progress.measured.evaluations.back().epoch);
  if (progress.measured.images_per_second) found += fmt::format("  {:>7} images/s", number_text(std::round(*progress.measured.images_per_second)));
  const double epoch = static_cast<double>(batch.rung_steps[static_cast<std::size_t>(task.rung)]) / static_cast<double>(batch.steps_per_epoch);
  return fmt::format("batch {:>6}  lr {:<9} seed {:<3} rung {}/{}  epoch {:<6.4g} {}  ({} to go)", task.key.batch, lr_text(task.key.lr),
                     task.key.seed, task.rung + 1, plan.rungs(), epoch, found, remaining);
}

std::string result_text(const SweepResult& result) {
  std::string text = fmt::format("\n{:>9} {:>6} {:>9} {:>9} {:>9} {:>16} {:>7} {:>8} {:>9} {:>13} {:>9} {:>9}\n", "batch", "shard", "best lr",
                                 "linear", "sqrt", "top-1 %", "reached", "epochs", "steps", "samples", "time", "images/s");
  for (const BatchSummary& batch : result.batches) text += row(result, batch);
  text += "\n";
  for (const std::string& paragraph : result.verdict.text) text += fmt::format("- {}", wrapped(paragraph, "  "));
  for (const std::string& missing : result.missing) text += fmt::format("- missing: {}", wrapped(missing, "  "));
  return text;
}

}  // namespace lockstep
