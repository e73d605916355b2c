// StepPrediction: how long a training step takes on so many ranks, from what one shard's passes take (planning/step_time.h), the real
// bucket plan (distributed/bucket_plan.h) and a cluster (planning/simulation.h).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>

#include "models/model.h"
#include "planning/cluster.h"
#include "planning/simulation.h"
#include "planning/step_time.h"

namespace lockstep {

// How a step is shared out.
struct StepJob {
  int ranks = 1;
  int shards_per_rank = 1;   // one after the other; gradients travel during the last one's backward pass
  std::int64_t shard_batch = 1;
  int norm_ranks = 1;        // that one batch norm spans: each layer then exchanges its statistics, forward and backward
  ReduceOrder order = ReduceOrder::kFixedTree;
  double wire_share = 1;     // bytes on the wire per byte of a gradient: 0.5 for bf16 of f32
  std::size_t first_bucket_bytes = std::size_t{1} << 20, bucket_bytes = std::size_t{25} << 20;
  bool overlap = true;       // false: one all-reduce after another once the backward pass has ended
  int steps = 32;            // that are simulated
  std::uint64_t seed = 1;
};

struct StepPrediction {
  double forward_s = 0, backward_s = 0;  // of all of a rank's shards
  double norm_sync_s = 0;                // batch norms across ranks
  SimulatedStep step;                    // what was simulated
  SimulationResult simulation;
  StepJob job;

  double step_s() const { return simulation.step_s; }
  double images_per_second() const;      // of all ranks together
};

// When each gradient of a shard is complete, in seconds after the beginning of its backward pass, by parameter id. A parameter belongs to
// the layer that its name begins with ("layer1.0.conv1.weight"); one of no layer is complete at the end.
std::vector<double> gradient_times(const Model& model, const ComputeTime& compute);

// `cluster`: needed for more than one rank. Throws UserError for what check_world_size says of EXACT, and for too many ranks.
StepPrediction predict_step(const Model& model, const ComputeTime& compute, const StepJob& job, const std::optional<ClusterDescription>& cluster);

}  // namespace lockstep
