// Launchers recognised by their variables, without being installed.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>

#include "core/error.h"
#include "distributed/launch_environment.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

LaunchEnvironment detect(const std::map<std::string, std::string>& variables) {
  return detect_launcher([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(LaunchEnvironment, Tables) {
  struct Case {
    std::map<std::string, std::string> variables;
    Launcher want;
    bool mpi;
  };
  const std::vector<Case> cases = {
      {{}, Launcher::kNone, false},
      {{{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "4"}}, Launcher::kOpenMpi, true},
      {{{"PMI_RANK", "0"}, {"PMI_SIZE", "2"}}, Launcher::kHydra, true},
      {{{"PMIX_RANK", "3"}}, Launcher::kPmix, true},
      {{{"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "8"}}, Launcher::kSlurm, true},
      // Typed into a batch script or an allocation's shell: one process.
      {{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}, Launcher::kNone, false},
      {{{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}, Launcher::kNone, false},
      // mpirun in a batch job: the script's SLURM_PROCID is not the rank.
      {{{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}, {"OMPI_COMM_WORLD_RANK", "5"}, {"OMPI_COMM_WORLD_SIZE", "8"}}, Launcher::kOpenMpi, true},
      {{{"RANK", "0"}, {"WORLD_SIZE", "1"}}, Launcher::kTorchrun, false},
      {{{"RANK", "production"}}, Launcher::kNone, false},
  };
  for (const Case& c : cases) {
    const LaunchEnvironment found = detect(c.variables);
    EXPECT_EQ(found.launcher, c.want) << found.variables;
    EXPECT_EQ(launched_by_mpi(found), c.mpi) << found.variables;
  }
}

TEST(LaunchEnvironment, TorchrunWithSeveralRanksIsToldWhatToType) {
  const auto environment = detect({{"RANK", "1"}, {"WORLD_SIZE", "4"}});
  const std::string message = testing::message_of<UserError>([&] { launched_by_mpi(environment); });
  EXPECT_NE(message.find("mpirun -n 4 lockstep"), std::string::npos) << message;
}

TEST(LaunchEnvironment, AnotherMpisLauncherIsFoundOut) {
  const auto environment = detect({{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}});
  check_launcher_agrees(environment, 1, 4, "Open MPI v4.1.4");
  const std::string message = testing::message_of<UserError>([&] { check_launcher_agrees(environment, 0, 1, "Open MPI v4.1.4"); });
  EXPECT_NE(message.find("PMI_RANK=1 PMI_SIZE=4, MPI says rank 0 of 1"), std::string::npos) << message;
  EXPECT_NE(message.find("built with Open MPI v4.1.4"), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
