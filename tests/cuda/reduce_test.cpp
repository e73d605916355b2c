// Reductions on a device that ranks share (threads, through the host's memory) or have alone: the bits of the host, also recorded.
// What several devices do is tests/distributed's.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "device_test_util.h"
#include "distributed/device_choice.h"
#include "distributed/local_group.h"
#include "tests/distributed/reducer_steps.h"

namespace lockstep {
namespace {

using testing::Bytes;
using testing::eager_steps;
using testing::host_steps;
using testing::shard_values;
using testing::small_buckets;
using testing::tensor_of;

TEST(DeviceReduction, OneRankHasTheBitsOfTheHost) {
  const auto alone = make_solo_communicator();
  EXPECT_TRUE(alone->on_device());
  for (const std::int64_t shards : {1, 4, 6, 12})
    EXPECT_EQ(eager_steps(*alone, &test_accelerator(), small_buckets(shards), 3), host_steps(shards, 1)) << shards;
  EXPECT_NE(eager_steps(*alone, &test_accelerator(), small_buckets(6), 3), host_steps(12, 1));  // negative control
}

TEST(DeviceReduction, ARecordedStepHasTheBitsOfAnEagerOneAndTakesNoMemory) {
  Accelerator& accelerator = test_accelerator();
  const auto alone = make_solo_communicator();
  ReducerOptions options = small_buckets(12);
  options.device = accelerator.device();
  GradientReducer reducer(*alone, testing::some_entries(), options);
  testing::FakeBackward backward(*alone, reducer, &accelerator);
  const auto pool = accelerator.make_pool();
  const PoolScope scope(*pool);
  std::vector<Bytes> results;
  backward.set_step(1);
  backward.run(1);
  results.push_back(testing::results_of(reducer));
  exchange_thread_pool(nullptr);  // what the device has in use is in its own pool, whatever the thread takes from
  const std::size_t before = pool_of(gpu()).stats().in_use_bytes;
  exchange_thread_pool(pool.get());
  accelerator.begin_recording(gpu_stream());
  backward.run(2);
  const auto work = accelerator.end_recording(gpu_stream());
  EXPECT_GT(work->node_count(), 0u);
  for (std::int64_t step = 2; step <= 3; ++step) {
    backward.set_step(step);
    accelerator.replay(gpu_stream(), *work);
    results.push_back(testing::results_of(reducer));
  }
  EXPECT_EQ(results, host_steps(12, 1));
  EXPECT_EQ(pool->stats().reserved_bytes, 0u) << "bucket memory must not come from the step's pool";
  exchange_thread_pool(nullptr);
  EXPECT_EQ(pool_of(gpu()).stats().in_use_bytes, before);
  exchange_thread_pool(pool.get());
}

TEST(DeviceReduction, RanksThatShareTheDeviceHaveTheBitsOfTheHost) {
  Accelerator& accelerator = test_accelerator();
  for (const int ranks : {2, 4}) {
    LocalGroup group(ranks);
    group.run([&](Communicator& comm) {
      EXPECT_FALSE(comm.on_device());
      start_accelerator(pick_device(comm, 1));  // this thread's device
      EXPECT_EQ(eager_steps(comm, &accelerator, small_buckets(12), 3), host_steps(12, 1)) << ranks << " ranks";
    });
  }
}

TEST(DeviceReduction, EveryOrderAndWireHasTheBitsOfTensorsOnTheHost) {
  Accelerator& accelerator = test_accelerator();
  const std::int64_t n = 100003;
  for (const int ranks : {2, 3, 4})
    for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast})
      for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16}) {
        if (order == ReduceOrder::kFixedTree && ranks == 3) continue;
        LocalGroup group(ranks);
        group.run([&](Communicator& comm) {
          const ReduceOptions options{.order = order, .wire = wire, .divisor = 12};
          Tensor host = tensor_of(shard_values<float>(comm.rank(), 0, n));
          Tensor device = to_device(host, accelerator.device());
          comm.wait(comm.all_reduce_async(device, options, "device"));
          comm.wait(comm.all_reduce_async(host, options, "host"));
          const Tensor copy = to_host(device);
          EXPECT_TRUE(testing::same_bits<float>(copy.host<float>(), host.host<float>())) << ranks << " ranks";
        });
      }
}

TEST(DeviceReduction, AStagedOperationReadsWhatTheStreamWasGivenBeforeAndIsReadAfter) {
  Accelerator& accelerator = test_accelerator();
  LocalGroup group(2);
  group.run([&](Communicator& comm) {
    Tensor buffer = to_device(tensor_of(std::vector<float>(1000, static_cast<float>(1 + comm.rank()))), accelerator.device());
    const Stream stream = accelerator.compute_stream();
    float want = static_cast<float>(1 + comm.rank());
    for (int i = 0; i < 20; ++i) {
      accelerator.add(stream, DType::kF32, buffer.ptr(), buffer.ptr(), buffer.ptr(), buffer.numel());
      comm.wait(comm.all_reduce_async(buffer, {.divisor = 2}, "mean"));
      want = i == 0 ? 3 : 2 * want;  // (2 * 1 + 2 * 2) / 2, then doubled
    }
    EXPECT_EQ(to_host(buffer).host<float>()[999], want);
  });
}

TEST(DeviceReduction, AStagedOperationThatMissesItsDeadlineNamesTheLateRank) {
  Accelerator& accelerator = test_accelerator();
  CommunicatorOptions options{.deadline_seconds = 0.4};
  options.on_abandoned = [](ExitCode, const std::string&) {};
  LocalGroup group(2, options);
  std::vector<std::string> messages(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      Communicator& comm = group.communicator(rank);
      messages[static_cast<std::size_t>(rank)] = testing::message_of<EnvironmentError>([&] {
        comm.set_activity(41, "data_wait");
        const Tensor buffer = to_device(Tensor::zeros(Shape{1000}, DType::kF32), accelerator.device());
        if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1800));
        comm.wait(comm.all_reduce_async(buffer, {}, "bucket 2 of 2 (conv1.weight .. bn1.bias, 3 tensors)"));
      });
    });
  for (std::thread& thread : threads) thread.join();
  const std::string want = "bucket 2 of 2 (conv1.weight .. bn1.bias, 3 tensors), step 41\nlate: rank 1 (localhost";
  EXPECT_NE(messages[0].find(want), std::string::npos) << messages[0];
}

}  // namespace
}  // namespace lockstep
