// SPDX-License-Identifier: Apache-2.0
#include "distributed/launch_environment.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "core/error.h"

namespace lockstep {
namespace {

std::optional<int> number(const char* text) {
  if (text == nullptr) return std::nullopt;
  const std::string_view view(text);
  int value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc{} || end != view.data() + view.size()) return std::nullopt;
  return value;
}

// Reads a pair of variables; empty when the first is not set.
LaunchEnvironment read(const GetEnvironment& get, Launcher launcher, const char* rank, const char* size) {
  LaunchEnvironment found;
  const char* rank_text = get(rank);
  const char* size_text = get(size);
  found.rank = number(rank_text);
  if (!found.rank) return {};
  found.size = number(size_text);
  found.launcher = launcher;
  found.variables = fmt::format("{}={}", rank, rank_text);
  if (size_text != nullptr) found.variables += fmt::format(" {}={}", size, size_text);
  return found;
}

const char* launcher_name(Launcher launcher) {
  switch (launcher) {
    case Launcher::kNone: return "no launcher";
    case Launcher::kOpenMpi: return "Open MPI's mpirun";
    case Launcher::kHydra: return "the mpirun of MPICH or Intel MPI";
    case Launcher::kPmix: return "a PMIx launcher";
    case Launcher::kSlurm: return "srun";
    case Launcher::kTorchrun: return "torchrun";
  }
  return "?";
}

}  // namespace

LaunchEnvironment detect_launcher(const GetEnvironment& get) {
  auto found = read(get, Launcher::kOpenMpi, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
  if (found.launcher != Launcher::kNone) return found;
  found = read(get, Launcher::kHydra, "PMI_RANK", "PMI_SIZE");
  if (found.launcher != Launcher::kNone) return found;
  found = read(get, Launcher::kPmix, "PMIX_RANK", "SLURM_STEP_NUM_TASKS");
  if (found.launcher != Launcher::kNone) return found;
  // A batch script itself runs as process 0 of its own one-task step; only srun makes steps of several tasks.
  found = read(get, Launcher::kSlurm, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS");
  if (found.launcher != Launcher::kNone && found.size.value_or(1) > 1) return found;
  return read(get, Launcher::kTorchrun, "RANK", "WORLD_SIZE");
}

bool launched_by_mpi(const LaunchEnvironment& environment) {
  if (environment.launcher == Launcher::kTorchrun && environment.size.value_or(1) > 1)
    throw UserError(fmt::format("started by torchrun ({}), but lockstep's ranks meet through MPI.\n"
                                "Start it with: mpirun -n {} lockstep ...",
                                environment.variables, *environment.size));
  return environment.launcher != Launcher::kNone && environment.launcher != Launcher::kTorchrun;
}

void check_launcher_agrees(const LaunchEnvironment& environment, int mpi_rank, int mpi_size, const std::string& library) {
  const bool rank_differs = environment.rank && *environment.rank != mpi_rank;
  const bool size_differs = environment.size && *environment.size != mpi_size;
  if (environment.launcher == Launcher::kTorchrun || (!rank_differs && !size_differs)) return;
  throw UserError(fmt::format("the launcher and the MPI library disagree: {} says {}, MPI says rank {} of {}.\n"
                              "lockstep was built with {}. Start it with that library's mpirun (or srun --mpi=pmix).",
                              launcher_name(environment.launcher), environment.variables, mpi_rank, mpi_size, library));
}

}  // namespace lockstep
