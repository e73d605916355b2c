// step_bench: times whole training steps, phase by phase, and then says where a step's time goes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "train/bench_peaks.h"
#include "train/bench_setup.h"
#include "train/bench_stats.h"
#include "train/trace_ops.h"

namespace lockstep {

// Of the slowest rank; phases are medians over the timed steps.
struct StepBenchResult {
  int steps = 0;                 // timed
  double images_per_second = 0;  // all ranks together, at the median step
  Spread step_ms;
  double data_ms = 0, forward_ms = 0, backward_ms = 0, reduce_ms = 0, update_ms = 0;
  double device_ms = 0;                       // on a GPU: its own time of a step, by its events
  std::uint64_t peak_bytes = 0;               // largest resident set of a rank
  std::uint64_t pool_peak_bytes = 0;          // of which tensors, at their peak
  std::uint64_t planned_peak_bytes = 0;       // what train/memory_plan.h said of them before the first step
  std::uint64_t warm_system_allocations = 0;  // by the memory pool during the timed steps, all ranks: 0 is the promise
  std::uint64_t gradient_bytes = 0;
  // From steps of their own after the timed ones, with every kernel call timed: medians over those steps.
  double traced_step_ms = 0;
  std::array<double, kOpClasses> class_ms{};  // by OpClass, per step
  double other_ms = 0;                        // of traced_step_ms: in no kernel and not waiting for data or reductions
  double flops = 0;                           // of convolutions and matrix products, per step and rank
  Peaks peaks;

  double class_share(OpClass op_class) const { return class_ms[static_cast<std::size_t>(op_class)] / traced_step_ms; }
  // The time that the step's arithmetic takes at the measured peak, as a share of the median step.
  double roofline_share() const { return flops / (peaks.gflops * 1e6) / step_ms.median; }
};

struct StepBench {
  BenchSubject subject;
  StepBenchResult result;
};

// Collective; blocks. The result is complete on every rank.
StepBench bench_step(const BenchOptions& options, Communicator& comm);

}  // namespace lockstep
