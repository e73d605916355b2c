// The MPI library's own MPI_Allreduce, timed: what `bench allreduce` compares ours with.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace lockstep {

// For each size in bytes (of f32 values summed in place): the seconds of `repeats` calls, each the slowest rank's. Collective
// over all ranks of the MPI job. Call it before make_communicator, whose thread owns MPI afterwards; starts MPI if need be.
// Empty when this process was not started by an MPI launcher. Throws EnvironmentError.
std::vector<std::vector<double>> time_mpi_all_reduce(std::span<const std::size_t> sizes, int warmup, int repeats);

}  // namespace lockstep
