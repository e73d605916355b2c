// Reductions between devices that go wrong: a peer that is late, a device that hangs, a transport that reports an error. Each ends
// in time, in a verdict that names the rank and the bucket, and with the device's work ended, so that nobody waits for it.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "device_group.h"
#include "distributed_test_util.h"
#include "reducer_steps.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using testing::DeviceGroup;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Deadlines that are missed quickly; a rank that is stuck elsewhere doesn't end the tests.
CommunicatorOptions impatient(double seconds) {
  CommunicatorOptions options{.deadline_seconds = seconds};
  options.on_abandoned = [](ExitCode, const std::string&) {};
  return options;
}

// Each rank's error, and how long it took to have it.
struct Outcome {
  std::string message;
  double seconds = 0;
};

std::vector<Outcome> run_all(DeviceGroup& group, const std::function<void(Communicator&, Accelerator&)>& fn) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(group.group.size()));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < group.group.size(); ++rank)
    threads.emplace_back([&, rank] {
      Outcome& outcome = outcomes[static_cast<std::size_t>(rank)];
      const auto start = std::chrono::steady_clock::now();
      outcome.message = testing::message_of<EnvironmentError>([&] { fn(group.group.communicator(rank), accelerator_of({DeviceKind::kCuda, rank})); });
      outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    });
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

Tensor on_device(Accelerator& accelerator, std::int64_t n) { return to_device(Tensor::zeros(Shape{n}, DType::kF32), accelerator.device()); }

TEST(DeviceFault, ALateRankIsNamedAndTheDeviceIsFreed) {
  DeviceGroup group(4, impatient(0.5));
  group.run([](Communicator&, Accelerator&) {});
  const auto outcomes = run_all(group, [](Communicator& comm, Accelerator& accelerator) {
    comm.set_activity(41, "data_wait");
    const Tensor buffer = on_device(accelerator, 1000);
    comm.wait(comm.all_reduce_async(buffer, {}, "bucket 1 of 2 (fc.weight)"));
    accelerator.synchronize(accelerator.compute_stream());
    comm.check();
    if (comm.rank() == 2) std::this_thread::sleep_for(milliseconds(2500));
    comm.wait(comm.all_reduce_async(buffer, {}, "bucket 2 of 2 (conv1.weight .. bn1.bias, 3 tensors)"));
    accelerator.synchronize(accelerator.compute_stream());  // would wait for ever
    comm.check();
  });
  for (const int rank : {0, 1, 3}) {
    const auto& [message, seconds] = outcomes[static_cast<std::size_t>(rank)];
    EXPECT_TRUE(contains(message, "missed its deadline of 0.5 s")) << message;
    EXPECT_TRUE(contains(message, "bucket 2 of 2 (conv1.weight .. bn1.bias, 3 tensors), step 41")) << message;
    EXPECT_TRUE(contains(message, "late: rank 2 (localhost, pid")) << message;
    EXPECT_TRUE(contains(message, "bucket 1 of 2 (fc.weight), now in data_wait of step 41")) << message;
    EXPECT_LT(seconds, 0.5 + 2.5);
    EXPECT_TRUE(group.hub.aborted(rank));
  }
}

TEST(DeviceFault, ARankThatIsLateButInTimeIsNoFailure) {
  DeviceGroup group(2, impatient(5));
  group.run([](Communicator&, Accelerator&) {});
  const auto outcomes = run_all(group, [](Communicator& comm, Accelerator& accelerator) {
    if (comm.rank() == 1) std::this_thread::sleep_for(milliseconds(300));
    comm.wait(comm.all_reduce_async(on_device(accelerator, 10), {}, "bucket"));
    comm.barrier();
    comm.check();
  });
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.message, "");
}

// A recorded step that was replayed once; then rank 1's device hangs after two messages.
TEST(DeviceFault, ADeviceThatHangsInARecordedStepIsReportedWithItsBucketAndStep) {
  DeviceGroup group(2, impatient(0.5));
  group.run([](Communicator&, Accelerator&) {});
  const auto outcomes = run_all(group, [&](Communicator& comm, Accelerator& accelerator) {
    ReducerOptions options = testing::small_buckets(4);
    options.device = accelerator.device();
    GradientReducer reducer(comm, testing::some_entries(), options);
    testing::FakeBackward backward(comm, reducer, &accelerator);
    const Stream stream = accelerator.compute_stream();
    backward.run(1);
    comm.begin_recorded_step();
    accelerator.begin_recording(stream);
    backward.run(2);
    const auto work = accelerator.end_recording(stream);
    comm.end_recorded_step();
    for (std::int64_t step = 2; step <= 3; ++step) {
      comm.barrier();
      if (step == 3 && comm.rank() == 1) group.hub.hang(1, 2);
      comm.barrier();
      accelerator.replay(stream, *work);
      comm.watch(step);
      accelerator.synchronize(stream);
      comm.check();
      EXPECT_EQ(step, 2);
    }
  });
  for (const auto& [message, seconds] : outcomes) {
    EXPECT_TRUE(contains(message, "recorded step, step 3, in bucket 3 of 5 (fc.bias)")) << message;
    EXPECT_LT(seconds, 0.5 + 3);
  }
}

TEST(DeviceFault, AnErrorOfTheTransportIsAVerdictToo) {
  DeviceGroup group(2, impatient(60));
  group.run([](Communicator&, Accelerator&) {});
  const auto outcomes = run_all(group, [&](Communicator& comm, Accelerator& accelerator) {
    comm.set_activity(7, "forward");
    if (comm.rank() == 1) {
      std::this_thread::sleep_for(milliseconds(1500));
      comm.check();
      return;
    }
    comm.wait(comm.all_reduce_async(on_device(accelerator, 10), {}, "bucket 1 of 1 (w)"));
    std::this_thread::sleep_for(milliseconds(50));
    group.hub.fail(0, "NCCL failed on rank 0 (localhost): remote process exited");
    accelerator.synchronize(accelerator.compute_stream());
    comm.check();
  });
  const std::string& message = outcomes[0].message;
  EXPECT_TRUE(contains(message, "NCCL failed on rank 0 (localhost): remote process exited: #")) << message;
  EXPECT_TRUE(contains(message, "bucket 1 of 1 (w), step 7")) << message;
  EXPECT_TRUE(contains(message, "late: rank 1")) << message;
  EXPECT_LT(outcomes[0].seconds, 3);
  EXPECT_TRUE(contains(outcomes[1].message, "stopped, because rank 0 failed: NCCL failed")) << outcomes[1].message;
  EXPECT_TRUE(group.hub.aborted(0) && group.hub.aborted(1));
}

TEST(DeviceFault, ARankThatEndsTheJobLeavesNoDeviceWaiting) {
  const auto start = std::chrono::steady_clock::now();
  {
    DeviceGroup group(2);
    group.run([](Communicator&, Accelerator&) {});
    const std::string message = testing::message_of<UserError>([&] {
      group.group.run([](Communicator& comm) {
        if (comm.rank() == 1) throw UserError("label 17 out of range", ExitCode::kData);
        Accelerator& accelerator = accelerator_of({DeviceKind::kCuda, 0});
        comm.wait(comm.all_reduce_async(on_device(accelerator, 10), {}, "bucket"));
        accelerator.synchronize(accelerator.compute_stream());
        comm.check();
        ADD_FAILURE() << "believed a sum that rank 1 never gave";
      });
    });
    EXPECT_EQ(message, "label 17 out of range");
  }
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 4);
}

TEST(DeviceFault, TwoRanksOnOneDeviceAreRefusedUnlessTheyPretend) {
  const auto start_on_one = [](const CommunicatorOptions& options) {
    DeviceGroup group(2, options);
    return testing::message_of<UserError>([&] {
      group.group.run([](Communicator& comm) { comm.use_device(start_accelerator(0).device(), "emulated:0"); });
    });
  };
  EXPECT_TRUE(contains(start_on_one({}), "ranks 0 and 1 would use the same GPU"));
  EXPECT_EQ(start_on_one({.pretend_hosts = true}), "");
}

TEST(DeviceFault, AnAllReduceWithoutADeviceIsAnInternalError) {
  DeviceGroup group(2);
  const Tensor buffer = on_device(start_accelerator(0), 4);
  EXPECT_TRUE(contains(testing::message_of<InternalError>([&] { group.group.communicator(0).all_reduce_async(buffer, {}, "w"); }), "use_device"));
}

}  // namespace
}  // namespace lockstep
