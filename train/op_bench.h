// op_bench: every kernel call of a training step, timed where it happens: on a CPU in the step, with the caches as they are
// there; on a GPU by events, one call at a time and with cold caches (train/device_timer.h), beside the step as it runs untimed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "train/bench_peaks.h"
#include "train/bench_setup.h"
#include "train/trace_ops.h"

namespace lockstep {

struct OpBench {
  BenchSubject subject;
  bool on_device = false;       // a GPU's
  int steps = 0;                // timed
  std::vector<OpGroup> groups;  // calls of equal work, in the order of the step; this rank's
  // Medians over the steps, this rank's; the parts of a step are summed within each step, so that they add up as steps do.
  double step_ms = 0;        // on a GPU: of as many untimed steps before, the mean
  double arithmetic_ms = 0;  // in convolutions and matrix products
  double memory_ms = 0;      // in the other kernels
  double waiting_ms = 0;     // for data and reductions; on a GPU in the rest
  double between_ms = 0;     // the rest: between the kernels. Below 0 on a GPU: in the step they find their operands in its cache
  Peaks peaks;
};

// Collective; blocks. Every rank gets its own table.
OpBench bench_ops(const BenchOptions& options, Communicator& comm);

}  // namespace lockstep
