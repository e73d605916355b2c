// Replica check: agreement costs nothing, disagreement names the tensor and the rank.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <mutex>

#include "distributed/local_group.h"
#include "distributed/replica_check.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

// Every rank holds 5 tensors; `flip` may change one hash. Returns all ranks' messages.
std::vector<std::string> check(int ranks, const std::function<void(int, std::vector<NamedHash>&)>& flip) {
  LocalGroup group(ranks);
  std::mutex mutex;
  std::vector<std::string> messages;
  group.run([&](Communicator& comm) {
    std::vector<NamedHash> hashes;
    for (std::uint64_t t = 0; t < 5; ++t) hashes.push_back({"layer" + std::to_string(t), 1000 + t});
    flip(comm.rank(), hashes);
    std::string message;
    try {
      check_replicas(comm, hashes, 120);
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::kNumeric);
      message = error.what();
    }
    const std::lock_guard lock(mutex);
    messages.push_back(message);
  });
  return messages;
}

TEST(ReplicaCheck, AgreementIsSilent) {
  for (const int ranks : {1, 2, 4})
    for (const std::string& message : check(ranks, [](int, auto&) {})) EXPECT_EQ(message, "");
}

TEST(ReplicaCheck, NamesTheTensorAndTheMinorityOnEveryRank) {
  for (int bad = 0; bad < 4; ++bad)
    for (std::size_t tensor = 0; tensor < 5; ++tensor) {
      const auto messages = check(4, [&](int rank, auto& hashes) {
        if (rank == bad) hashes[tensor].hash ^= 1;
      });
      for (const std::string& message : messages)
        EXPECT_EQ(message.find("replicas disagree after step 120: 'layer" + std::to_string(tensor) + "' differs on rank " +
                               std::to_string(bad) + " (localhost"), 0u) << message;
    }
}

TEST(ReplicaCheck, TwoRanksHaveNoMinority) {
  const auto messages = check(2, [](int rank, auto& hashes) {
    if (rank == 1)
      for (NamedHash& hash : hashes) hash.hash += 5;
  });
  EXPECT_NE(messages[0].find("'layer0' (and 4 more tensors) differs on ranks, none in the minority: 0"), std::string::npos) << messages[0];
}

}  // namespace
}  // namespace lockstep
