// What this core can do at most, measured: the yardsticks of `bench ops` and `bench step`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "distributed/communicator.h"
#include "ops/kernels.h"

namespace lockstep {

struct Peaks {
  double gflops = 0;             // best of the backend's matrix products in the dtype and, for f32 and f64, of a loop of FMAs
  double gbytes_per_second = 0;  // copying 32 MiB, read and written bytes counted
};

// Takes about half a second and 64 MB. Collective: all ranks measure at the same time, for that is how they compute. The
// smallest peaks of all ranks.
Peaks measure_peaks(Kernels& kernels, DType dtype, Communicator& comm);

}  // namespace lockstep
