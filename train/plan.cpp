// SPDX-License-Identifier: Apache-2.0
#include "train/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/order.h"
#include "proto/config.pb.h"
#include "train/schedule.h"

namespace lockstep {
namespace {

int norm_shards(const proto::BatchNorm& norm, int shards) {
  switch (norm.scope()) {
    case proto::BatchNorm::SHARD: return 1;
    case proto::BatchNorm::GROUP: return norm.group_shards();
    case proto::BatchNorm::GLOBAL: return shards;
  }
  return 1;
}

// What the user may expect of the bits.
std::string describe_reduction(const proto::Distributed& config, int shards) {
  if (config.wire() == proto::Distributed::BF16)
    return proto::Distributed::Reduction_Name(config.reduction()) + ", bf16 on the wire: the bits depend on the number of ranks";
  if (config.reduction() == proto::Distributed::FAST) return "FAST: the bits depend on the number of ranks";
  std::string worlds = "1";
  for (int ranks = 2; ranks <= shards && shards % ranks == 0; ranks *= 2) worlds += fmt::format(", {}", ranks);
  return "EXACT: the same bits at " + worlds + " ranks";
}

}  // namespace

RunPlan make_plan(const proto::Config& config, std::int64_t train_samples, std::int64_t eval_samples, int ranks) {
  RunPlan plan;
  plan.train_samples = train_samples;
  plan.eval_samples = eval_samples;
  plan.global_batch = config.batch().global_batch();
  plan.shard_batch = config.batch().shard_batch();
  plan.shards = static_cast<int>(plan.global_batch / plan.shard_batch);
  plan.ranks = ranks;
  plan.shards_per_rank = plan.shards / ranks;
  plan.norm_shards = norm_shards(config.model().batch_norm(), plan.shards);
  const proto::Mix& mix = config.data().augment().mix();
  plan.mixes = mix.mixup_alpha() > 0 || mix.cutmix_alpha() > 0;
  const LastBatch policy = config.data().last_batch() == proto::Data::WRAP ? LastBatch::kWrap : LastBatch::kDrop;
  plan.steps_per_epoch = steps_per_epoch(train_samples, plan.global_batch, policy);
  plan.total_steps = std::llround(config.epochs() * static_cast<double>(plan.steps_per_epoch));
  if (config.max_steps() > 0) plan.total_steps = std::min(plan.total_steps, config.max_steps());
  return plan;
}

std::int64_t RunPlan::period(double every_epochs) const {
  return every_epochs <= 0 ? 0 : std::max<std::int64_t>(1, std::llround(every_epochs * static_cast<double>(steps_per_epoch)));
}

std::vector<std::pair<std::string, std::string>> describe_plan(const proto::Config& config, const RunPlan& plan, const Schedule& schedule) {
  const double target = config.evaluation().stop_at_top1();
  return {
      {"data", fmt::format("{} training images, {} evaluation images", plan.train_samples, plan.eval_samples)},
      {"global batch", fmt::format("{} = {} shards x {}", plan.global_batch, plan.shards, plan.shard_batch)},
      {"ranks", fmt::format("{}, each runs {} shard{} a step", plan.ranks, plan.shards_per_rank, plan.shards_per_rank > 1 ? "s, one after the other," : "")},
      {"reduction", describe_reduction(config.distributed(), plan.shards)},
      {"batch norm sees", fmt::format("{} images", plan.norm_shards * plan.shard_batch)},
      {"steps", fmt::format("{} an epoch, {} in all ({:.4g} epochs){}", plan.steps_per_epoch, plan.total_steps, plan.epoch_of(plan.total_steps),
                            target > 0 ? fmt::format(", or to the first evaluation with top-1 at {:g} %", target) : "")},
      {"learning rate", fmt::format("peak {:.6g}, first step {:.6g}, last step {:.6g}", schedule.peak(), schedule.lr(0),
                                    schedule.lr(std::max<std::int64_t>(plan.total_steps - 1, 0)))},
  };
}

}  // namespace lockstep
