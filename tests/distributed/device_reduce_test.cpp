// All-reduces and the reducer on devices: the bits of ranks that reduce on the host, eager and as a recorded step.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "device_group.h"
#include "distributed_test_util.h"
#include "reducer_steps.h"

namespace lockstep {
namespace {

using testing::Bytes;
using testing::DeviceGroup;
using testing::FakeBackward;
using testing::host_steps;
using testing::results_of;
using testing::small_buckets;
using testing::some_entries;
using testing::shard_values;
using testing::tensor_of;

template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  const Tensor host = to_host(tensor);
  const auto span = host.host<T>();
  return {span.begin(), span.end()};
}

template <class T>
using Results = std::vector<std::vector<T>>;

// Each rank's sum of values drawn for it, by ranks that reduce on the host.
template <class T>
Results<T> reduce_on_host(int ranks, std::int64_t n, const ReduceOptions& options) {
  LocalGroup group(ranks);
  Results<T> results(static_cast<std::size_t>(ranks));
  group.run([&](Communicator& comm) {
    Tensor buffer = tensor_of(shard_values<T>(comm.rank(), 0, n));
    comm.wait(comm.all_reduce_async(buffer, options, "host"));
    results[static_cast<std::size_t>(comm.rank())] = values_of<T>(buffer);
  });
  return results;
}

template <class T>
Results<T> reduce_on_devices(DeviceGroup& group, std::int64_t n, const ReduceOptions& options) {
  Results<T> results(static_cast<std::size_t>(group.group.size()));
  group.group.run([&](Communicator& comm) {
    const Tensor buffer = to_device(tensor_of(shard_values<T>(comm.rank(), 0, n)), Device{DeviceKind::kCuda, comm.rank()});
    comm.wait(comm.all_reduce_async(buffer, options, "device"));
    results[static_cast<std::size_t>(comm.rank())] = values_of<T>(buffer);
  });
  return results;
}

// Small and large for the algorithm, odd, fewer than ranks.
const std::vector<std::int64_t> kSizes = {1, 3, 17, 2049, 262144, 262145, 300001};

TEST(DeviceAllReduce, FixedTreeHasTheBitsOfHostRanks) {
  for (const int ranks : {1, 2, 4}) {
    DeviceGroup group(ranks);
    group.run([](Communicator&, Accelerator&) {});
    for (const std::int64_t n : kSizes)
      for (const std::int64_t divisor : {1, 12}) {
        const ReduceOptions options{.divisor = divisor};
        EXPECT_EQ(reduce_on_devices<float>(group, n, options), reduce_on_host<float>(ranks, n, options)) << ranks << " ranks, n " << n;
        EXPECT_EQ(reduce_on_devices<double>(group, n, options), reduce_on_host<double>(ranks, n, options)) << ranks << " ranks, n " << n;
      }
  }
}

TEST(DeviceAllReduce, BF16WireOfTheTreeHasTheBitsOfHostRanks) {
  for (const int ranks : {2, 4}) {
    DeviceGroup group(ranks);
    group.run([](Communicator&, Accelerator&) {});
    for (const std::int64_t n : kSizes) {
      const ReduceOptions options{.wire = WireFormat::kBF16, .divisor = 12};
      const auto got = reduce_on_devices<float>(group, n, options);
      EXPECT_EQ(got, reduce_on_host<float>(ranks, n, options)) << ranks << " ranks, n " << n;
      if (n < 100) continue;
      EXPECT_NE(got, reduce_on_host<float>(ranks, n, {.divisor = 12}));  // negative control: it was rounded
    }
  }
}

TEST(DeviceAllReduce, FastIsTheSameOnAllRanksAndWithinTheErrorOfTheWire) {
  for (const int ranks : {2, 3, 4})
    for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16}) {
      DeviceGroup group(ranks);
      group.run([](Communicator&, Accelerator&) {});
      const std::int64_t n = 5003;
      const auto got = reduce_on_devices<float>(group, n, {.order = ReduceOrder::kFast, .wire = wire, .divisor = 4});
      for (const auto& each : got) EXPECT_EQ(each, got[0]);
      Results<float> inputs;
      for (int r = 0; r < ranks; ++r) inputs.push_back(shard_values<float>(r, 0, n));
      // Every rank's value and every partial sum are rounded once.
      const double epsilon = wire == WireFormat::kBF16 ? dtype_epsilon(DType::kBF16) : dtype_epsilon(DType::kF32);
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        double sum = 0, magnitude = 0;
        for (const auto& input : inputs) {
          sum += input[i];
          magnitude += std::abs(static_cast<double>(input[i]));
        }
        ASSERT_LE(std::abs(got[0][i] - sum / 4), (ranks + 1) * epsilon * magnitude / 4) << i;
      }
    }
}

TEST(DeviceAllReduce, SmallBuffersTakeHalfTheMessages) {
  const auto messages = [](std::int64_t n) {
    DeviceGroup group(4);
    group.run([](Communicator&, Accelerator&) {});
    reduce_on_devices<float>(group, n, {});
    return group.hub.messages();
  };
  EXPECT_EQ(messages(1000), 4 * 2);
  EXPECT_EQ(messages(400000), 4 * 4);
}

TEST(DeviceAllReduce, TensorsOfTheHostStillGoByTheHost) {
  DeviceGroup group(2);
  group.run([&](Communicator& comm, Accelerator&) {
    EXPECT_TRUE(comm.on_device());
    EXPECT_EQ(comm.transport(), "emulated, local, shared memory");
    Tensor buffer = tensor_of(std::vector<float>{1, 2});
    comm.wait(comm.all_reduce_async(buffer, {}, "host"));
    EXPECT_EQ(buffer.host<float>()[1], 4);
    EXPECT_EQ(comm.all_gather_values(comm.rank())[1], 1);
    comm.finalize();
  });
}

// ---- the reducer

enum class Mode { kEager, kRecorded };

std::vector<Bytes> device_steps(std::int64_t shards, int ranks, ReducerOptions options = {}, Mode mode = Mode::kEager) {
  DeviceGroup group(ranks);
  std::vector<std::vector<Bytes>> all(static_cast<std::size_t>(ranks));
  group.run([&](Communicator& comm, Accelerator& accelerator) {
    ReducerOptions own = small_buckets(shards, options);
    own.device = accelerator.device();
    GradientReducer reducer(comm, some_entries(), own);
    FakeBackward backward(comm, reducer, &accelerator);
    auto& steps = all[static_cast<std::size_t>(comm.rank())];
    const auto pool = accelerator.make_pool();
    const Stream stream = accelerator.compute_stream();
    std::unique_ptr<RecordedWork> work;
    for (std::int64_t step = 1; step <= 3; ++step) {
      const PoolScope scope(*pool);
      backward.set_step(step);
      if (step == 2 && mode == Mode::kRecorded) {
        comm.begin_recorded_step();
        accelerator.begin_recording(stream);
        backward.run(step);
        work = accelerator.end_recording(stream);
        comm.end_recorded_step();
      }
      if (work) {
        accelerator.replay(stream, *work);
        comm.watch(step);
      } else {
        backward.run(step);
      }
      steps.push_back(results_of(reducer));
    }
    EXPECT_EQ(pool->stats().reserved_bytes, 0u) << "bucket memory must not come from the step's pool";
    work.reset();
    comm.finalize();
  });
  for (const auto& each : all) EXPECT_EQ(each, all[0]);
  return all[0];
}

TEST(DeviceReducer, HasTheBitsOfTheHostAtEveryWorldSize) {
  for (const std::int64_t shards : {4, 8, 12}) {
    const auto host = host_steps(shards, 1);
    for (const int ranks : {1, 2, 4}) EXPECT_EQ(device_steps(shards, ranks), host) << shards << " shards on " << ranks << " ranks";
  }
}

TEST(DeviceReducer, RecordedStepsHaveTheBitsOfEagerOnes) {
  for (const int ranks : {1, 2, 4}) {
    const auto host = host_steps(8, ranks);
    EXPECT_EQ(device_steps(8, ranks, {}, Mode::kRecorded), host) << ranks << " ranks";
  }
  for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16}) {
    const ReducerOptions fast{.order = ReduceOrder::kFast, .wire = wire};
    EXPECT_EQ(device_steps(8, 4, fast, Mode::kRecorded), device_steps(8, 4, fast));
  }
}

TEST(DeviceReducer, BF16WireHasTheBitsOfTheHostAtTheSameNumberOfRanks) {
  const ReducerOptions options{.wire = WireFormat::kBF16};
  EXPECT_EQ(device_steps(8, 4, options), host_steps(8, 4, options));
  EXPECT_EQ(device_steps(8, 4, options, Mode::kRecorded), host_steps(8, 4, options));
  EXPECT_NE(device_steps(8, 4, options), device_steps(8, 2, options));  // negative control
}

TEST(DeviceReducer, FastIsAnotherOrder) {
  EXPECT_NE(device_steps(8, 4, {.order = ReduceOrder::kFast}), host_steps(8, 4));
  EXPECT_EQ(device_steps(6, 3, {.order = ReduceOrder::kFast}).size(), 3u);  // any divisor will do
}

// ---- choice of devices

TEST(DeviceChoice, ByPlaceOnTheHostAndAroundAgain) {
  LocalGroup group(4, {}, 2);  // two hosts
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(pick_device(group.communicator(rank), 2), rank % 2);
    EXPECT_EQ(pick_device(group.communicator(rank), 1), 0);
    EXPECT_EQ(pick_device(group.communicator(rank), 0), 0);
  }
}

TEST(DeviceChoice, TwoRanksOnOneGpuAreNamedOnAllRanks) {
  LocalGroup group(4, {}, 2);
  group.run([](Communicator& comm) {
    check_one_gpu_per_rank(comm, comm.local_rank() == 0 ? "0000:3b:00.0" : "0000:5e:00.0");  // the same ids on both hosts: fine
    const std::string message =
        testing::message_of<UserError>([&] { check_one_gpu_per_rank(comm, comm.rank() >= 2 ? "0000:3b:00.0" : std::to_string(comm.rank())); });
    EXPECT_EQ(message.find("ranks 2 and 3 would use the same GPU of host1 (0000:3b:00.0): its 2 ranks see 1 of them"), 0u) << message;
    EXPECT_NE(message.find("Start at most 1 on this host, or set distributed.communicator: MPI"), std::string::npos) << message;
  });
}

}  // namespace
}  // namespace lockstep
