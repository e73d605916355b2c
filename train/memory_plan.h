// MemoryPlan: how much memory a training step will take, known before the first one.
//
// One shard's forward and backward pass is rehearsed (core/rehearsal.h) with the run's own model and backend: the same
// sequence of allocations and releases, nothing computed. What it costs is making the backend's primitives, and the first
// step finds them made.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "train/network.h"
#include "train/plan.h"
#include "train/session.h"

namespace lockstep {

struct MemoryPlan {
  Device device;                   // whose memory
  std::size_t held_bytes = 0;      // tensors that exist already: weights, momentum, running statistics, the loader's ring
  std::size_t gradient_bytes = 0;  // all copies that adding a rank's shards needs
  std::size_t pass_bytes = 0;      // activations and scratch of one shard's pass, at their peak
  int passes = 1;                  // under way at once: batch norm across shards needs all of a rank's

  std::size_t peak_bytes() const { return held_bytes + gradient_bytes + pass_bytes * static_cast<std::size_t>(passes); }
};

// To be called before the first step, when everything but the gradients has been made. The memory of the network's device.
MemoryPlan plan_memory(Network& network, const RunPlan& plan, const ImageSize& image);
// For the largest of the session's sizes of training images, whatever the size at `step`, whose loader is there.
MemoryPlan plan_memory_of(Session& session, std::int64_t step = 0);

// Makes the planned memory ready (prefault_memory), so that the first step meets no page faults; to be called by the thread
// that will run the steps. Does nothing if its passes run on threads of their own.
void prefault(const MemoryPlan& plan);

// Throws UserError when a GPU has less memory than that: both figures, and the shard_batch that would fit. `run`: its plan.
void check_fits(const MemoryPlan& plan, const RunPlan& run);

// For the banner: "1642 MB of tensors per rank at the peak: 205 held, 102 for gradients, 1335 for a shard's pass".
std::string describe_memory(const MemoryPlan& plan);

}  // namespace lockstep
