// SPDX-License-Identifier: Apache-2.0
#include "sweep/sweep_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "distributed/gradient_reducer.h"
#include "proto/config.pb.h"
#include "train/plan.h"
#include "train/schedule.h"

namespace lockstep {
namespace {

constexpr double kSameRate = 1.05;           // rates closer than this are one
constexpr double kLongestWarmup = 0.25;      // share of all epochs
constexpr std::size_t kMostTrials = 10000;

void check_batch(const proto::Config& config, std::int64_t batch, DataSizes data, int ranks) {
  const std::int64_t shard_batch = config.batch().shard_batch();
  if (batch > shard_batch && batch % shard_batch != 0) {
    const std::int64_t below = batch / shard_batch * shard_batch;
    throw UserError(fmt::format("--batches: {} is not a multiple of batch.shard_batch = {}\n  The nearest ones: {} and {}. Or change the shard with "
                                "--set batch.shard_batch=N.", batch, shard_batch, below, below + shard_batch));
  }
  if (batch > data.train)
    throw UserError(fmt::format("--batches: {} is more than the {} training samples\n  Take at most one epoch.", batch, data.train));
  try {
    check_world_size(batch / std::min(batch, shard_batch), ranks,
                     config.distributed().reduction() == proto::Distributed::EXACT ? ReduceOrder::kFixedTree : ReduceOrder::kFast);
  } catch (const UserError& error) {
    throw UserError(fmt::format("--batches: {} with --ranks {}: {}", batch, ranks, error.what()));
  }
}

double scaled_warmup(const proto::Config& config, double ratio) {
  const double warmup = config.schedule().warmup_epochs();
  if (ratio <= 1 || warmup <= 0) return warmup;
  return std::min(warmup * std::sqrt(ratio), std::max(warmup, kLongestWarmup * config.epochs()));
}

std::vector<double> candidate_rates(const SweepOptions& options, double linear, double root) {
  std::vector<double> rates = options.lrs;
  if (rates.empty()) {
    for (const double factor : options.factors) {
      if (options.rule != ScalingRule::kSqrt) rates.push_back(linear * factor);
      if (options.rule != ScalingRule::kLinear) rates.push_back(root * factor);
    }
  }
  for (double& rate : rates) rate = round_lr(rate);
  std::sort(rates.begin(), rates.end());
  std::vector<double> kept;
  for (const double rate : rates)
    if (kept.empty() || (options.lrs.empty() ? rate > kept.back() * kSameRate : rate > kept.back())) kept.push_back(rate);
  return kept;
}

BatchPlan plan_batch(const SweepPlan& sweep, std::int64_t batch) {
  const proto::Config& base = sweep.base.config();
  const double ratio = static_cast<double>(batch) / static_cast<double>(sweep.base_batch);
  BatchPlan plan{.batch = batch, .shard_batch = std::min(batch, std::int64_t{base.batch().shard_batch()})};
  plan.linear_lr = sweep.base_lr * ratio;
  plan.sqrt_lr = sweep.base_lr * std::sqrt(ratio);
  plan.lrs = candidate_rates(sweep.options, plan.linear_lr, plan.sqrt_lr);
  plan.warmup_epochs = scaled_warmup(base, ratio);
  proto::Config config = base;
  config.mutable_batch()->set_global_batch(batch);
  config.mutable_batch()->set_shard_batch(plan.shard_batch);
  const RunPlan run = make_plan(config, sweep.data.train, sweep.data.eval, 1);
  plan.steps_per_epoch = run.steps_per_epoch;
  plan.total_steps = run.total_steps;
  for (const double share : sweep.options.rungs)
    plan.rung_steps.push_back(std::max<std::int64_t>(1, std::llround(share * static_cast<double>(plan.total_steps))));
  return plan;
}

void plan_probe(SweepPlan& plan) {
  const proto::Config& config = plan.base.config();
  if (config.batch().global_batch() == config.batch().shard_batch())
    plan.probe_note = "no prediction from gradient noise: the config's batch is a single shard; take a smaller batch.shard_batch";
  else if (!config.logging().noise_scale())
    plan.probe_note = "no prediction from gradient noise: logging.noise_scale is off";
  else if (config.model().batch_norm().scope() == proto::BatchNorm::GLOBAL)
    plan.probe_note = "no prediction from gradient noise: with batch_norm.scope GLOBAL the shards' gradients depend on each other";
  else
    plan.probe = TrialKey{plan.base_batch, plan.base_lr, config.seed()};
}

void add_notes(SweepPlan& plan) {
  const proto::Config& config = plan.base.config();
  const bool has_larger = plan.batches.back().batch > plan.base_batch;
  if (has_larger && config.schedule().warmup_epochs() <= 0 && config.schedule().kind() != proto::Schedule::ONE_CYCLE)
    plan.notes.push_back("the config has no warm-up: large batches start at their full rate, and may diverge there");
  if (config.evaluation().every_epochs() <= 0)
    plan.notes.push_back("evaluation.every_epochs is 0: trials evaluate once an epoch, so that steps to the target can be told");
  if (config.schedule().kind() != proto::Schedule::CONSTANT && plan.options.target)
    plan.notes.push_back("the schedule lowers the rate towards the end, and accuracy rises with that: steps to the target say less about the batch "
                         "than with schedule.kind: CONSTANT");
}

}  // namespace

std::string TrialKey::name() const { return fmt::format("{}-{}-{}", batch, lr_text(lr), seed); }

const BatchPlan& SweepPlan::of(std::int64_t batch) const {
  if (batch == base_plan.batch) return base_plan;
  const auto found = std::find_if(batches.begin(), batches.end(), [&](const BatchPlan& plan) { return plan.batch == batch; });
  LS_CHECK(found != batches.end(), fmt::format("batch {} is not in the sweep", batch));
  return *found;
}

SweepPlan plan_sweep(const LoadedConfig& base, const SweepOptions& options, DataSizes data, const std::string& folder, int ranks) {
  const proto::Config& config = base.config();
  if (config.max_steps() > 0)
    throw UserError(fmt::format("max_steps = {} ({}): the rungs of the sweep set it\n  Leave it out; epochs says how long trials are.",
                                config.max_steps(), base.origin("max_steps")));
  if (config.evaluation().stop_at_top1() > 0)
    throw UserError(fmt::format("evaluation.stop_at_top1 = {} ({}): a trial that ends early can't be compared\n  Leave it out; --stop-at-target "
                                "does it for the whole sweep.",
                                config.evaluation().stop_at_top1(), base.origin("evaluation.stop_at_top1")));
  if (data.eval < 1) throw UserError("tune: the data have no evaluation part, and learning rates are chosen by evaluation accuracy");
  check_batch(config, config.batch().global_batch(), data, 1);
  SweepPlan plan{.base = base, .options = options, .data = data, .folder = folder, .base_batch = config.batch().global_batch()};
  plan.base_lr = round_lr(Schedule(config, 1).peak());
  plan.base_plan = plan_batch(plan, plan.base_batch);
  for (int i = 0; i < options.seeds; ++i) plan.seeds.push_back(config.seed() + static_cast<std::uint64_t>(i));
  plan_probe(plan);
  std::size_t trials = 0;
  for (const std::int64_t batch : options.batches) {
    check_batch(config, batch, data, ranks);
    plan.batches.push_back(plan_batch(plan, batch));
    trials += plan.batches.back().lrs.size() + plan.seeds.size();
    if (trials > kMostTrials) throw UserError(fmt::format("tune: more than {} trials; ask for fewer batches, rates or seeds", kMostTrials));
    for (const double lr : plan.batches.back().lrs)
      validate(parse_config(trial_config_text(plan, {batch, lr, config.seed()}), "the trial's config"), true);
  }
  add_notes(plan);
  return plan;
}

}  // namespace lockstep
