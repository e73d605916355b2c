// StepRunner: one optimizer step. For each of this rank's shards: forward, backward, gradients into the reducer; then
// the mean gradient, the update, the running statistics. No allocation once it is warm.
//
//     loader -> normalise, mix -> forward -> loss -> backward -> reducer -> finish -> norm -> SGD -> running statistics -> average
//
// What the step observes (loss, hits, stop votes) travels with the gradients, so it costs no message of its own and is the
// same on every rank. On a GPU (train/device_step.h) the host gives out the work and reads results one step late.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "data/loader.h"
#include "distributed/communicator.h"
#include "train/network.h"
#include "train/noise_scale.h"
#include "train/optimizer.h"
#include "train/plan.h"
#include "train/weight_average.h"

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
  // Steps on a GPU: the device's own time from input to results. forward_ns is then what giving out the work took, backward_ns
  // what was waited for results of the step.
  std::int64_t device_ns = 0;
};

// Means over the global batch; the same bits on every rank.
struct StepResult {
  std::int64_t step = 0;      // which
  double lr = 0;
  double loss = 0;
  double top1 = 0, top5 = 0;  // shares, 0 to 1
  double grad_norm = 0;       // before clipping
  bool finite = true;         // false: the update was not applied
  bool skipped = false;       // not finite, and meant to be passed over: loss scaling lowers its scale and goes on
  double loss_scale = 1;      // that this step used
  std::int64_t skipped_steps = 0;  // in the whole run
  std::int64_t first_bad = -1;     // not finite: the first parameter whose gradient shows it, -1: none does (the loss)
  bool stop = false;          // at least one rank was asked to stop
  GradientSquares squares;    // for the gradient noise scale, if the run measures it and this step did
  StepTimes times;
};

class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // Takes this rank's shards of `step` from the loader and applies one update at rate `lr`. Collective. On a CPU it blocks
  // until that is done; a GPU is given the work and goes on while the host prepares the next step. Throws UrgentStop
  // (train/stop_request.h), with parameters, momentum, statistics and averages as they were before the step.
  virtual void submit(std::int64_t step, double lr, Loader& loader) = 0;
  // The oldest result not taken yet; none if there is none, or if the host may run on (a GPU's results come one step late).
  // With `all`, waits for what is under way.
  virtual std::optional<StepResult> take(bool all) = 0;

  // Bytes of device memory at the step's peak: as planned before the first step, and as used so far. 0: on the host.
  virtual std::size_t device_peak_bytes() const { return 0; }
  // On a device: where the pass takes its memory, free between steps; for evaluations. Null: on the host.
  virtual MemoryPool* pass_pool() { return nullptr; }
  // Steps on a device: false launches each kernel, also after a recording was made. For measurements.
  virtual void use_recording(bool) {}
};

// For the network's device. Collective: compares the reducer's plan on all ranks. References must outlive it; the session's
// tensors must lie on the device. `average`, if not null, is updated after each step that was applied. Images may have another size
// than the last runner's, once that one is gone: a runner takes the shapes from its loader's batches, which must all be alike.
std::unique_ptr<StepRunner> make_step_runner(const proto::Config& config, const RunPlan& plan, Network& network, SgdOptimizer& optimizer,
                                             WeightAverage* average, Communicator& comm);

}  // namespace lockstep
