// What the launcher says in environment variables: is this process one of several ranks, and who started it?
//
// Pure: reads through a function, so that every launcher can be tested without being installed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace lockstep {

enum class Launcher { kNone, kOpenMpi, kHydra, kPmix, kSlurm, kTorchrun };

struct LaunchEnvironment {
  Launcher launcher = Launcher::kNone;
  std::string variables;     // what was found, for messages: "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=4"
  std::optional<int> rank, size;
};

using GetEnvironment = std::function<const char*(const char*)>;

// First hit wins: OMPI_COMM_WORLD_*, PMI_* (MPICH, Intel MPI), PMIX_RANK, SLURM step with more than one task, torchrun's
// RANK/WORLD_SIZE. (Not SLURM_PROCID before the others: mpirun inside a batch job inherits the batch script's.)
LaunchEnvironment detect_launcher(const GetEnvironment& get);

// kAuto's choice: true for MPI. Throws UserError under torchrun with more than one rank, which can't start MPI.
bool launched_by_mpi(const LaunchEnvironment& environment);

// The classic trap: started by the mpirun of another MPI, every process believes that it is rank 0 of 1. Throws
// UserError when the launcher's numbers and MPI's disagree. `library` is MPI's own version text.
void check_launcher_agrees(const LaunchEnvironment& environment, int mpi_rank, int mpi_size, const std::string& library);

}  // namespace lockstep
