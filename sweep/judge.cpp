// SPDX-License-Identifier: Apache-2.0
#include "sweep/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "proto/config.pb.h"
#include "sweep/halving.h"
#include "sweep/statistics.h"

namespace lockstep {
namespace {

const TrialProgress* find(const SweepProgress& progress, const TrialKey& key) {
  const auto found = progress.find(key);
  return found == progress.end() ? nullptr : &found->second;
}

std::optional<ToTarget> to_target(const SweepPlan& plan, const TrialKey& key, const TrialMeasurement& measured) {
  const auto reached = plan.options.target ? first_reaching(measured.evaluations, *plan.options.target) : std::nullopt;
  if (!reached) return std::nullopt;
  ToTarget way{.steps = reached->step, .samples = reached->step * key.batch, .epochs = reached->epoch};
  const auto samples = static_cast<double>(way.samples);
  if (measured.images_per_second) way.seconds = samples / *measured.images_per_second;
  if (measured.joules_per_image) way.joules = samples * *measured.joules_per_image;
  return way;
}

void add_measured(const SweepPlan& plan, const TrialKey& key, const TrialProgress& progress, TrialRecord& trial) {
  const TrialMeasurement& measured = progress.measured;
  const BatchPlan& batch = plan.of(key.batch);
  trial.rung = progress.rung;
  trial.message = progress.message;
  trial.evaluations = measured.evaluations;
  if (progress.rung >= 0) trial.steps = batch.rung_steps[static_cast<std::size_t>(progress.rung)];
  if (is_there(plan, progress)) trial.steps = measured.evaluations.back().step;
  trial.samples = trial.steps * key.batch;
  trial.epochs = static_cast<double>(trial.steps) / static_cast<double>(batch.steps_per_epoch);
  for (const TrialEvaluation& each : measured.evaluations) {
    trial.final_top1 = each.top1;
    trial.best_top1 = std::max(trial.best_top1.value_or(0), each.top1);
  }
  trial.to_target = to_target(plan, key, measured);
  trial.images_per_second = measured.images_per_second;
  if (measured.images_per_second) trial.seconds = static_cast<double>(trial.samples) / *measured.images_per_second;
  trial.joules_per_image = measured.joules_per_image;
  trial.energy_source = measured.energy_source;
  trial.peak_memory_bytes = measured.peak_memory_bytes;
  trial.noise_scale = predicted_critical_batch(measured.noise, key.batch, trial.to_target ? trial.to_target->steps : trial.steps);
  trial.digest = measured.digest;
}

TrialStatus status_of(const SweepPlan& plan, const TrialProgress* progress, bool still_wanted) {
  if (progress == nullptr) return TrialStatus::kWaiting;
  if (is_there(plan, *progress)) return TrialStatus::kFinished;  // the probe goes on, and whatever becomes of it is no matter
  if (progress->diverged) return TrialStatus::kDiverged;
  if (progress->rung == plan.rungs() - 1) return TrialStatus::kFinished;
  return still_wanted ? TrialStatus::kPartial : TrialStatus::kDropped;
}

TrialRecord record_of(const SweepPlan& plan, const SweepProgress& progress, const TrialKey& key, TrialRole role, bool still_wanted) {
  const BatchPlan& batch = plan.of(key.batch);
  TrialRecord trial{.batch = key.batch, .shard_batch = batch.shard_batch, .lr = key.lr, .seed = key.seed, .role = role};
  trial.folder = "trials/" + key.name();
  trial.total_steps = batch.total_steps;
  const TrialProgress* found = find(progress, key);
  trial.status = status_of(plan, found, still_wanted);
  if (found != nullptr) add_measured(plan, key, *found, trial);
  return trial;
}

void add_missing(const BatchPlan& batch, const BatchDecision& decision, SweepResult& result) {
  if (decision.complete) return;
  std::string names;
  for (const TrialTask& task : decision.tasks) names += (names.empty() ? "" : ", ") + task.key.name();
  result.missing.push_back(fmt::format("batch {}: rung {} of {} for {}{}", batch.batch, decision.tasks.front().rung + 1, batch.rung_steps.size(),
                                       names, decision.chosen ? "" : ", then the rungs and seeds that follow"));
}

void add_batch(const SweepPlan& plan, const SweepProgress& progress, const BatchPlan& batch, SweepResult& result) {
  const BatchDecision decision = decide(plan, batch, progress);
  BatchSummary summary{
      .batch = batch.batch, .shard_batch = batch.shard_batch, .complete = decision.complete, .linear_lr = batch.linear_lr, .sqrt_lr = batch.sqrt_lr};
  summary.best_lr = decision.chosen;
  summary.candidates = static_cast<int>(batch.lrs.size());
  summary.at_edge = decision.chosen && batch.lrs.size() > 1 && (*decision.chosen == batch.lrs.front() || *decision.chosen == batch.lrs.back());
  for (const double lr : batch.lrs) {
    const auto& last = decision.entered.back();
    const bool wanted = std::binary_search(last.begin(), last.end(), lr);
    for (const std::uint64_t seed : plan.seeds) {
      const TrialKey key{batch.batch, lr, seed};
      const bool first = seed == plan.seeds.front();
      if (!first && decision.chosen != lr) continue;
      result.trials.push_back(record_of(plan, progress, key, first ? TrialRole::kSearch : TrialRole::kSeed, wanted));
      summary.diverged += result.trials.back().status == TrialStatus::kDiverged;
    }
  }
  add_missing(batch, decision, result);
  result.batches.push_back(summary);
}

void add_probe(const SweepPlan& plan, const SweepProgress& progress, SweepResult& result) {
  if (!plan.probe) return;
  const auto same = [&](const TrialRecord& trial) {
    return trial.batch == plan.probe->batch && trial.lr == plan.probe->lr && trial.seed == plan.probe->seed;
  };
  const TrialProgress* probe = find(progress, *plan.probe);
  if (probe == nullptr || (!probe->diverged && probe->rung + 1 < plan.rungs()))
    result.missing.insert(result.missing.begin(), "the probe, " + plan.probe->name());
  if (std::any_of(result.trials.begin(), result.trials.end(), same)) return;
  result.trials.push_back(record_of(plan, progress, *plan.probe, TrialRole::kProbe, true));
}

// The trials at a batch's chosen rate that came to the end.
std::vector<const TrialRecord*> finished(const SweepResult& result, const BatchSummary& batch) {
  std::vector<const TrialRecord*> trials;
  for (const TrialRecord& trial : result.trials)
    if (trial.batch == batch.batch && trial.lr == batch.best_lr && trial.role != TrialRole::kProbe && trial.status == TrialStatus::kFinished)
      trials.push_back(&trial);
  return trials;
}

template <class Value>
std::optional<double> mean_over(const std::vector<const TrialRecord*>& trials, const Value& value) {
  std::vector<double> values;
  for (const TrialRecord* trial : trials)
    if (const std::optional<double> one = value(*trial)) values.push_back(*one);
  return values.size() == trials.size() && !values.empty() ? std::optional(mean_of(values)) : std::nullopt;
}

void summarise(const SweepResult& result, BatchSummary& batch) {
  const std::vector<const TrialRecord*> trials = finished(result, batch);
  batch.seeds = static_cast<int>(trials.size());
  std::vector<double> top1;
  for (const TrialRecord* trial : trials) {
    if (trial->final_top1) top1.push_back(*trial->final_top1);
    batch.reached += trial->to_target.has_value();
  }
  if (!top1.empty()) {
    batch.mean_top1 = mean_of(top1);
    batch.sd_top1 = sample_deviation(top1);
    batch.min_top1 = *std::min_element(top1.begin(), top1.end());
    batch.max_top1 = *std::max_element(top1.begin(), top1.end());
  }
  batch.images_per_second = mean_over(trials, [](const TrialRecord& trial) { return trial.images_per_second; });
  if (batch.images_per_second) batch.milliseconds_per_step = 1e3 * static_cast<double>(batch.batch) / *batch.images_per_second;
  if (batch.reached < static_cast<int>(result.seeds.size())) return;  // a mean over those that made it would flatter
  const auto way = [&](auto member) {
    return mean_over(trials,
                     [&](const TrialRecord& trial) { return trial.to_target ? std::optional<double>((*trial.to_target).*member) : std::nullopt; });
  };
  batch.steps_to_target = way(&ToTarget::steps);
  batch.samples_to_target = way(&ToTarget::samples);
  batch.epochs_to_target = way(&ToTarget::epochs);
  batch.seconds_to_target = mean_over(trials, [](const TrialRecord& trial) { return trial.to_target ? trial.to_target->seconds : std::nullopt; });
  batch.joules_to_target = mean_over(trials, [](const TrialRecord& trial) { return trial.to_target ? trial.to_target->joules : std::nullopt; });
}

}  // namespace

std::optional<double> predict_critical_batch(const SweepPlan& plan, const SweepProgress& progress) {
  const TrialProgress* probe = plan.probe ? find(progress, *plan.probe) : nullptr;
  if (probe == nullptr) return std::nullopt;
  return record_of(plan, progress, *plan.probe, TrialRole::kProbe, true).noise_scale;
}

SweepResult judge_sweep(const SweepPlan& plan, const SweepProgress& progress) {
  const proto::Config& config = plan.base.config();
  SweepResult result{.name = config.name(), .model = config.model().name(), .base_batch = plan.base_batch, .base_lr = plan.base_lr};
  result.train_samples = plan.data.train;
  result.eval_samples = plan.data.eval;
  result.schedule_epochs = config.epochs();
  result.target = plan.options.target;
  result.rungs = plan.options.rungs;
  result.seeds = plan.seeds;
  result.select = plan.options.select == Select::kTarget ? "target" : "accuracy";
  result.stop_at_target = plan.options.stop_at_target;
  result.evaluation_epochs = config.evaluation().every_epochs() > 0 ? config.evaluation().every_epochs() : 1;
  for (const BatchPlan& batch : plan.batches) add_batch(plan, progress, batch, result);
  add_probe(plan, progress, result);
  std::stable_sort(result.trials.begin(), result.trials.end(),
                   [](const TrialRecord& a, const TrialRecord& b) { return std::tie(a.batch, a.lr, a.seed) < std::tie(b.batch, b.lr, b.seed); });
  for (BatchSummary& batch : result.batches) summarise(result, batch);
  result.complete = result.missing.empty();
  result.verdict.predicted_critical = predict_critical_batch(plan, progress);
  give_verdict(result);
  return result;
}

}  // namespace lockstep
