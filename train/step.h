// StepRunner: one optimizer step. For each of this rank's shards: forward, backward, gradients into the reducer; then
// the mean gradient, the update, the running statistics. No allocation once it is warm.
//
//     loader -> normalise -> forward -> loss -> backward -> reducer -> finish -> norm -> SGD -> running statistics
//
// What the step observes (loss, hits, stop votes) travels with the gradients, so it costs no message of its own and is the
// same on every rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "data/loader.h"
#include "distributed/communicator.h"
#include "train/network.h"
#include "train/optimizer.h"
#include "train/plan.h"

namespace lockstep {

namespace proto {
class Config;
}

// Time of one step by phase, in nanoseconds of this rank's wall clock.
struct StepTimes {
  std::int64_t data_ns = 0;      // waiting for the loader
  std::int64_t forward_ns = 0;   // including loss
  std::int64_t backward_ns = 0;  // reductions overlap with it
  std::int64_t reduce_ns = 0;    // waiting for reductions after the last backward: exposed communication
  std::int64_t update_ns = 0;    // norm, SGD, running statistics
};

// Means over the global batch; the same bits on every rank.
struct StepResult {
  double loss = 0;
  double top1 = 0, top5 = 0;  // shares, 0 to 1
  double grad_norm = 0;       // before clipping
  bool finite = true;         // false: the update was not applied
  bool stop = false;          // at least one rank was asked to stop
  StepTimes times;
};

class StepRunner {
 public:
  // Collective: compares the reducer's plan on all ranks. References must outlive it.
  StepRunner(const proto::Config& config, const RunPlan& plan, Network& network, SgdOptimizer& optimizer, Communicator& comm);
  ~StepRunner();

  // Takes this rank's shards of `step` from the loader and applies one update at rate `lr`. Collective; blocks. Throws
  // UrgentStop (train/stop_request.h), with parameters, momentum and statistics as they were before the step.
  StepResult run(std::int64_t step, double lr, Loader& loader);

  // Of the last step, for reports: the parameter whose gradient holds a non-finite value, or "".
  std::string first_non_finite_gradient();
  std::size_t gradient_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep
