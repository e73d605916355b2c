// RunPlan: what follows from a config, a data set and a number of ranks, before anything is allocated.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lockstep {

namespace proto {
class Config;
}
class Schedule;

struct RunPlan {
  std::int64_t train_samples = 0, eval_samples = 0;
  std::int64_t global_batch = 0, shard_batch = 0;
  int shards = 1;            // V = global_batch / shard_batch
  int ranks = 1;             // W
  int shards_per_rank = 1;   // V / W, one after the other
  int norm_shards = 1;       // shards that one batch norm sees: 1, group_shards or V
  bool mixes = false;        // batches bring rows of core/mix_row.h: mixup, CutMix
  std::int64_t steps_per_epoch = 0;
  std::int64_t total_steps = 0;  // epochs * steps_per_epoch, rounded, at most max_steps

  int first_shard(int rank) const { return rank * shards_per_rank; }
  // What is due every so many epochs, as whole steps, at least one; 0: never.
  std::int64_t period(double every_epochs) const;
  double epoch_of(std::int64_t step) const { return static_cast<double>(step) / static_cast<double>(steps_per_epoch); }
};

// `ranks` divide the shards (check_world_size). Throws UserError when the data set is smaller than one global batch.
RunPlan make_plan(const proto::Config& config, std::int64_t train_samples, std::int64_t eval_samples, int ranks);

// The derived values of the banner, in reading order: "steps" -> "468 an epoch, ...", ...
std::vector<std::pair<std::string, std::string>> describe_plan(const proto::Config& config, const RunPlan& plan, const Schedule& schedule);

}  // namespace lockstep
