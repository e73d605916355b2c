// op_bench: every kernel call of a training step, timed where it happens: in the step, with the caches as they are there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "train/bench_peaks.h"
#include "train/bench_setup.h"
#include "train/trace_ops.h"

namespace lockstep {

struct OpBench {
  BenchSubject subject;
  int steps = 0;                // timed
  std::vector<OpGroup> groups;  // calls of equal work, in the order of the step; this rank's
  // Medians over the steps, this rank's; the parts of a step are summed within each step, so that they add up as steps do.
  double step_ms = 0;
  double arithmetic_ms = 0;  // in convolutions and matrix products
  double memory_ms = 0;      // in the other kernels
  double waiting_ms = 0;     // for data and reductions
  double between_ms = 0;     // the rest: between the kernels
  Peaks peaks;
};

// Collective; blocks. Every rank gets its own table.
OpBench bench_ops(const BenchOptions& options, Communicator& comm);

}  // namespace lockstep
