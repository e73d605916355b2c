// Simulation of synchronous steps on many ranks: when each bucket's gradients are ready on each rank, when its all-reduce can run,
// when the step ends, with ranks and links that are now and then slower than others.
//
// Discrete events, evaluated without a queue: on each rank computing, then one communication stream that takes the buckets in launch
// order, so each event's time is a maximum over events known before it (a max-plus recursion). Halving and doubling is followed
// exchange by exchange, so a late rank holds up its partners first and everybody in the end; other algorithms begin when the last rank
// is ready and end everywhere at once. Randomness is a function of (seed, step, rank): the same call gives the same result.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "planning/collectives.h"

namespace lockstep {

inline constexpr int kMostSimulatedRanks = 65536;

struct SimulatedBucket {
  double bytes = 0;
  double ready_s = 0;  // after the step's beginning, on an undisturbed rank
};

struct SimulatedStep {
  double compute_s = 0;  // forward and backward passes of all of a rank's shards, undisturbed
  double update_s = 0;   // optimizer, after all buckets
  std::vector<SimulatedBucket> buckets;  // in launch order
  bool overlap = true;   // false: all-reduces begin when the backward pass has ended
};

struct SimulationOptions {
  int ranks = 1;
  ReduceOrder order = ReduceOrder::kFast;
  int steps = 32;
  double straggler_share = 0;  // standard deviation of computing and link times
  std::uint64_t seed = 1;
};

// Means over steps; compute + straggler + exposed + update = step.
struct SimulationResult {
  double step_s = 0;
  double compute_s = 0;         // undisturbed
  double straggler_s = 0;       // by which the slowest rank's computing takes longer than that
  double exposed_s = 0;         // communication that computing doesn't hide
  double update_s = 0;
  double communication_s = 0;   // all all-reduces one after the other, undisturbed
  double slowest_step_s = 0;
  std::vector<Algorithm> algorithms;  // by bucket
  std::vector<double> begin_s, end_s; // by bucket, of its all-reduce in the first step, as the last rank sees it

  // A single rank's step without communication, as a share of this one.
  double efficiency() const { return (compute_s + update_s) / step_s; }
  double hidden_share() const { return communication_s > 0 ? 1 - exposed_s / communication_s : 1; }
};

// Throws UserError for more than kMostSimulatedRanks ranks.
SimulationResult simulate(const SimulatedStep& step, const ClusterDescription& cluster, const SimulationOptions& options);

}  // namespace lockstep
