// A job that dies with a save in hand, for parallel tests: checkpoint_rank RUN_FOLDER VICTIM under mpirun. Rank 0 saves
// sample_state(1) on storage whose fsync takes a second; meanwhile the rank VICTIM dies of kill -9.
// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/checkpoint/fault_fs.h"
#include "tests/checkpoint/sample_state.h"
#include "train/checkpoint/saver.h"

namespace {

void die_or_wait(bool die) {
  if (die) ::kill(::getpid(), SIGKILL);
  ::sleep(60);
}

}  // namespace

int main(int argc, char** argv) {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (argc != 3 || rank == nullptr) return 64;
  const std::string folder = argv[1];
  const bool is_victim = std::string(argv[2]) == rank;
  if (std::string(rank) != "0") {
    while (!std::filesystem::exists(folder + "/helper")) ::usleep(1000);
    die_or_wait(is_victim);
    return 1;
  }
  lockstep::test::FaultFs slow(lockstep::posix_fs());
  slow.sync_takes_s = 1;
  lockstep::CheckpointSaver saver(folder + "/ckpt", slow, {}, {});
  if (!saver.request(lockstep::test::sample_state(1), false)) return 1;
  std::ofstream(folder + "/helper.new") << saver.helper_pid() << std::endl;
  std::filesystem::rename(folder + "/helper.new", folder + "/helper");
  die_or_wait(is_victim);
  return 1;
}
