// The main of tests that run on every rank of an MPI job, in shared memory or (argument `messages`) without. All ranks run all tests in the same order; any rank's failure
// fails the job.
// SPDX-License-Identifier: Apache-2.0
#include "parallel_main.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string_view>

namespace lockstep::testing {

namespace {
std::unique_ptr<Communicator> world_communicator;
bool share_memory = true;
}  // namespace

Communicator& world() { return *world_communicator; }
bool shares_memory() { return share_memory; }

}  // namespace lockstep::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  lockstep::testing::share_memory = argc < 2 || std::string_view(argv[1]) != "messages";
  try {
    lockstep::testing::world_communicator = lockstep::make_communicator(
        lockstep::CommunicatorKind::kMpi, {.deadline_seconds = 30, .share_memory = lockstep::testing::share_memory});
    lockstep::Communicator& comm = lockstep::testing::world();
    if (comm.rank() != 0) delete ::testing::UnitTest::GetInstance()->listeners().Release(
        ::testing::UnitTest::GetInstance()->listeners().default_result_printer());
    const int result = RUN_ALL_TESTS();
    const auto results = comm.all_gather_values(result, "results of all ranks");
    for (std::size_t r = 0; r < results.size(); ++r)
      if (comm.rank() == 0 && results[r] != 0) std::fprintf(stderr, "tests failed on rank %zu\n", r);
    comm.finalize();
    return result;
  } catch (const lockstep::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    lockstep::abort_job(error.code());
    return static_cast<int>(error.code());
  }
}
