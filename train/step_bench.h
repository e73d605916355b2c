// step_bench: times whole training steps on made-up images, phase by phase.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "distributed/communicator.h"

namespace lockstep {

struct StepBenchOptions {
  std::string model = "resnet50";
  std::int64_t batch = 16;  // images per rank and step
  int accumulate = 1;       // shards that a rank runs one after the other, each of batch / accumulate images
  int base_width = 0;       // channels of the first stage; 0: the model's own
  int size = 224;           // height and width
  int channels = 3;
  int classes = 1000;
  std::string dtype = "f32";        // f32 or f64
  std::string backend = "AUTO";     // AUTO, FAST, REFERENCE
  std::string reduction = "EXACT";  // EXACT or FAST
  std::string wire = "FP32";        // FP32 or BF16
  std::string norm_scope = "SHARD"; // SHARD or GLOBAL
  int threads = 1;                  // per rank
  int warmup = 2;
  int steps = 5;
};

// Medians over the timed steps of the slowest rank's wall clock.
struct StepBenchResult {
  int ranks = 1;
  double images_per_second = 0;  // all ranks together
  double step_ms = 0, step_ms_min = 0, step_ms_max = 0;
  double data_ms = 0, forward_ms = 0, backward_ms = 0, reduce_ms = 0, update_ms = 0;
  std::uint64_t peak_bytes = 0;             // largest resident set of a rank
  std::uint64_t pool_peak_bytes = 0;        // of which tensors, at their peak
  std::uint64_t warm_system_allocations = 0;  // by the memory pool during the timed steps, all ranks: 0 is the promise
  std::uint64_t gradient_bytes = 0;
};

// Collective; blocks. The result is complete on every rank.
StepBenchResult bench_step(const StepBenchOptions& options, Communicator& comm);

}  // namespace lockstep
