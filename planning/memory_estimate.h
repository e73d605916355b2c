// MemoryEstimate: what a rank's tensors take, by kind, and the largest shard that fits a device that need not be here. The passes are
// rehearsed with this machine's CPU kernels (train/memory_plan.h): a GPU's own workspaces come on top.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "train/dry_run.h"

namespace lockstep {

struct MemoryEstimate {
  // Bytes of one rank.
  double weights = 0;         // in the optimizer's precision
  double compute_copies = 0;  // of 16-bit precisions
  double momentum = 0;
  double statistics = 0;      // running means and variances
  double average = 0;         // of the weights (average.decay)
  double gradients = 0;       // all copies that adding a rank's shards needs
  double activations = 0;     // and scratch, of the passes that are under way at once
  double input = 0;           // images waiting

  double fixed_activations = 0;      // of `activations`, what doesn't grow with the shard
  std::int64_t shard_batch = 0;

  double total() const { return weights + compute_copies + momentum + statistics + average + gradients + activations + input; }
  double growing() const { return (activations - fixed_activations + input) / static_cast<double>(shard_batch); }  // per image
  // The largest shard whose total is at most `bytes`; 0: not one image.
  std::int64_t largest_shard(double bytes) const;
};

// `gpu`: images wait on the device, else in the loader's ring. Takes a second or two for a large network. Throws UserError where the network
// doesn't fit the images.
MemoryEstimate estimate_memory(const DryRun& run, bool gpu);

}  // namespace lockstep
