// A rank's death under mpirun, which then kills the other ranks' process groups: a save in hand is finished all the same,
// because the helper has a session of its own.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "tests/checkpoint/sample_state.h"
#include "train/checkpoint/checkpoint_store.h"

namespace lockstep::test {
namespace {

// A zombie without a reaper counts as gone.
bool is_gone(int pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  const std::string text((std::istreambuf_iterator<char>(stat)), {});
  return text.empty() || text.find(") Z ") != std::string::npos;
}

// Starts the job, lets the rank `victim` die, and looks at what became of the save.
void check_death_of(int victim) {
  const TemporaryFolder folder;
  const std::string command = fmt::format("'{}' 2 '{}' '{}' {} >'{}/log' 2>&1", MPI_RUN, CHECKPOINT_RANK, folder.path(), victim, folder.path());
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 137) << "a rank died of SIGKILL";
  int helper = 0;
  ASSERT_TRUE(std::ifstream(folder / "helper") >> helper);
  EXPECT_FALSE(CheckpointStore(folder / "ckpt", posix_fs()).find(Resume::kAuto)) << "saved before the job's end: this shows nothing";
  for (int i = 0; i < 2000 && !is_gone(helper); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(is_gone(helper)) << "it ends by itself";
  const auto found = CheckpointStore(folder / "ckpt", posix_fs()).find(Resume::kAuto);
  ASSERT_TRUE(found.has_value()) << "the helper was killed with the job";
  EXPECT_TRUE(same_state(load(posix_fs(), found->path), sample_state(1)));
}

TEST(CheckpointFault, ASaveInHandIsFinishedAfterItsRanksDeath) { check_death_of(0); }

// mpirun then kills rank 0, and with it the whole process group that it gave it.
TEST(CheckpointFault, ASaveInHandIsFinishedAfterAnotherRanksDeath) { check_death_of(1); }

}  // namespace
}  // namespace lockstep::test
