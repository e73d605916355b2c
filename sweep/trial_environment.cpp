// How trials are started: launcher, environment, GPUs.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "sweep/process_runner.h"

namespace lockstep {
namespace {

bool starts_with_any(std::string_view entry, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view prefix) { return entry.starts_with(prefix); });
}

// A trial is a job of its own on this machine: it must neither take itself for a rank of the sweep's job nor spread over its
// allocation. What a user sets for Open MPI itself stays.
bool announces_a_rank(std::string_view entry) {
  if (starts_with_any(entry, {"OMPI_MCA_orte_", "OMPI_MCA_ess", "OMPI_MCA_pmix", "OMPI_MCA_initial_wdir", "PMI_", "PMIX_", "PRTE_", "SLURM_", "RANK=",
                              "WORLD_SIZE=", "LOCAL_RANK=", "HYDI_", "MPI_LOCALRANKID="}))
    return true;
  return entry.starts_with("OMPI_") && !starts_with_any(entry, {"OMPI_MCA_", "OMPI_ALLOW_"});
}

bool names(std::string_view entry, std::string_view name) { return entry.starts_with(name) && entry.substr(name.size()).starts_with('='); }

}  // namespace

std::vector<std::string> default_launcher() {
  return {"mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "-n"};
}

std::vector<std::string> visible_gpus() {
  std::vector<std::string> gpus;
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::istringstream list(visible);
    for (std::string gpu; std::getline(list, gpu, ',');) gpus.push_back(gpu);
    return gpus;
  }
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", none))
    if (entry.is_directory(none)) gpus.push_back(std::to_string(gpus.size()));
  return gpus;
}

std::vector<std::string> trial_environment(const std::vector<std::string>& ours, const ProcessRunnerOptions& options, int slot) {
  std::vector<std::string> theirs;
  const bool shares_gpus = !options.gpus.empty();
  for (const std::string& entry : ours)
    if (!announces_a_rank(entry) && !(shares_gpus && names(entry, "CUDA_VISIBLE_DEVICES"))) theirs.push_back(entry);
  if (shares_gpus) {
    std::string list;
    for (int rank = 0; rank < std::min(options.ranks, static_cast<int>(options.gpus.size())); ++rank)
      list += (rank > 0 ? "," : "") + options.gpus[static_cast<std::size_t>(slot * options.ranks + rank) % options.gpus.size()];
    theirs.push_back("CUDA_VISIBLE_DEVICES=" + list);
  }
  if (options.ranks == 1) return theirs;
  const auto add_unless_set = [&](std::string_view name, const std::string& value) {
    if (std::none_of(theirs.begin(), theirs.end(), [&](const std::string& entry) { return names(entry, name); }))
      theirs.push_back(fmt::format("{}={}", name, value));
  };
  add_unless_set("OMP_NUM_THREADS", "1");
  if (geteuid() == 0) {  // containers
    add_unless_set("OMPI_ALLOW_RUN_AS_ROOT", "1");
    add_unless_set("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
  }
  return theirs;
}

}  // namespace lockstep
