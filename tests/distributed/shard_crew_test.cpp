// The crew: one shard at a time, always the same order, and no shard is left behind when another one fails.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <thread>

#include "core/error.h"
#include "distributed/shard_crew.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

// All shards wait for each other `rounds` times; returns the order in which they ran, as text. No locks: the baton is one.
std::string trace_of(ShardCrew& crew, int rounds) {
  std::string trace;
  std::vector<int> arrived(static_cast<std::size_t>(rounds), 0);
  crew.run([&](int shard) {
    for (std::size_t round = 0; round < arrived.size(); ++round) {
      trace += static_cast<char>('a' + shard);
      ++arrived[round];
      crew.wait_until(shard, [&] { return arrived[round] == crew.shards(); });
    }
    trace += static_cast<char>('A' + shard);
  });
  return trace;
}

TEST(ShardCrew, RunsOneAtATimeInTheSameOrderEveryTime) {
  ShardCrew crew(4);
  const std::string first = trace_of(crew, 3);
  EXPECT_EQ(first, "abcd" "dabc" "cdab" "BCDA");  // the last to arrive goes on at once, then the others in cyclic order
  for (int i = 0; i < 50; ++i) EXPECT_EQ(trace_of(crew, 3), first);
}

TEST(ShardCrew, KeepsItsThreadsAndRunsOneShardOnTheCallers) {
  std::set<std::thread::id> first, second;
  ShardCrew crew(3);
  crew.run([&](int) { first.insert(std::this_thread::get_id()); });
  crew.run([&](int) { second.insert(std::this_thread::get_id()); });
  EXPECT_EQ(first.size(), 3u);
  EXPECT_EQ(first, second);
  ShardCrew alone(1);
  alone.run([&](int shard) {
    EXPECT_EQ(shard, 0);
    first.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(first.count(std::this_thread::get_id()), 1u);
}

TEST(ShardCrew, TheFirstErrorIsThrownAndWaitingShardsUnwind) {
  ShardCrew crew(4);
  for (int failing = 0; failing < 4; ++failing) {
    int unwound = 0, arrived = 0;
    struct Count {
      int& value;
      ~Count() { ++value; }
    };
    const std::string message = testing::message_of<UserError>([&] {
      crew.run([&](int shard) {
        const Count count{unwound};
        if (shard == failing) throw UserError("shard " + std::to_string(shard));
        ++arrived;
        crew.wait_until(shard, [&] { return arrived == 4; });
        ADD_FAILURE() << "went on without shard " << failing;
      });
    });
    EXPECT_EQ(message, "shard " + std::to_string(failing));
    // Shards after the failing one never start.
    EXPECT_EQ(unwound, failing + 1);
  }
  EXPECT_EQ(trace_of(crew, 1).size(), 8u);  // still usable
}

TEST(ShardCrew, DifferentNumbersOfMeetingsAreAnError) {
  ShardCrew crew(3);
  int arrived = 0;
  const std::string message = testing::message_of<InternalError>([&] {
    crew.run([&](int shard) {
      if (shard == 1) return;
      ++arrived;
      crew.wait_until(shard, [&] { return arrived == 3; });
    });
  });
  EXPECT_NE(message.find("different calls"), std::string::npos) << message;
}

}  // namespace
}  // namespace lockstep
