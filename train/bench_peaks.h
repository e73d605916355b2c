// What this core or this GPU can do at most, measured: the yardsticks of `bench ops` and `bench step`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "distributed/communicator.h"
#include "ops/kernels.h"

namespace lockstep {

struct Peaks {
  double gflops = 0;             // best of the backend's matrix products in the dtype and, on a CPU in f32 and f64, of FMAs
  double gbytes_per_second = 0;  // copying 32 MiB (GPU: up to 1 GiB), read and written bytes counted
};

// Takes about half a second and 64 MB (GPU: 2.5 GB of its memory for a moment). Collective: all ranks measure at the same time,
// for that is how they compute. The smallest peaks of all ranks.
Peaks measure_peaks(Kernels& kernels, DType dtype, Communicator& comm);

}  // namespace lockstep
