// allreduce_bench: the communicator's all-reduce by size, order and wire format, beside the MPI library's own.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "distributed/communicator.h"
#include "train/bench_stats.h"

namespace lockstep {

struct AllReduceBenchOptions {
  std::vector<std::size_t> sizes{4096, 65536, 1 << 20, 16 << 20, 64 << 20};  // bytes of f32 values, multiples of 4
  int warmup = 2;
  int repeats = 10;
};

struct AllReduceRow {
  std::size_t nbytes = 0;
  std::string order, wire;  // EXACT or FAST, FP32 or BF16; "MPI_Allreduce", "FP32"
  Spread ms;                // over the repeats; of each the slowest rank's, from a common start
  // Bytes reduced per second, and what every link had to carry of it: 2 (n - 1) / n times the f32 bytes (half in BF16).
  double algorithm_gbytes_per_second = 0, bus_gbytes_per_second = 0;
};

void check_options(const AllReduceBenchOptions& options);  // UserError for what can't be measured

// `mpi_seconds`: of time_mpi_all_reduce for the same sizes; may be empty. Collective; blocks. Checks every sum: InternalError
// when one is wrong. UserError with fewer than 2 ranks. EXACT is left out where the number of ranks is no power of two.
std::vector<AllReduceRow> bench_all_reduce(const AllReduceBenchOptions& options, const std::vector<std::vector<double>>& mpi_seconds,
                                           Communicator& comm);

}  // namespace lockstep
