// The emulated device finds what it is made to find: early reads, missing events, memory that nobody wrote, the wrong device.
// Each has its control, which is right.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "cuda/launch.h"

namespace lockstep::cuda {
namespace {

class EmulatedDevice : public ::testing::Test {
 protected:
  EmulatedDevice() { runtime::use_device(0); }
  ~EmulatedDevice() override {  // what was given to the streams writes into this object
    runtime::use_device(0);
    for (const Stream stream : {a_, b_}) runtime::synchronize(stream);
  }
  // Appends `digit` to what ran.
  void run(Stream stream, int digit) {
    enqueue_work(stream, [this, digit] { ran_ = 10 * ran_ + digit; });
  }
  int ran_ = 0;
  const Stream a_ = runtime::new_stream(), b_ = runtime::new_stream();
  const Event event_ = runtime::new_event();
};

TEST_F(EmulatedDevice, NothingRunsBeforeSomebodyWaits) {
  run(a_, 1);
  run(a_, 2);
  runtime::record(event_, a_);
  run(a_, 3);
  EXPECT_EQ(ran_, 0);
  runtime::synchronize(event_);
  EXPECT_EQ(ran_, 12);
  runtime::synchronize(a_);
  EXPECT_EQ(ran_, 123);
}

TEST_F(EmulatedDevice, AMissingEventShowsAsTheWrongOrder) {
  run(a_, 1);
  run(b_, 2);
  runtime::synchronize(b_);
  EXPECT_EQ(ran_, 2);
  runtime::synchronize(a_);
  EXPECT_EQ(ran_, 21);
}

TEST_F(EmulatedDevice, AnEventRunsOfTheOtherStreamWhatItCoversAndNoMore) {
  run(a_, 1);
  runtime::record(event_, a_);
  run(a_, 3);
  runtime::wait(b_, event_);
  runtime::record(event_, a_);  // the wait was for the event as it was
  run(b_, 2);
  runtime::synchronize(b_);
  EXPECT_EQ(ran_, 12);
  runtime::synchronize(a_);
  EXPECT_EQ(ran_, 123);
}

TEST_F(EmulatedDevice, DoneSaysNoAFewTimes) {
  run(a_, 1);
  runtime::record(event_, a_);
  EXPECT_FALSE(runtime::done(event_));
  EXPECT_EQ(ran_, 0);
  while (!runtime::done(event_)) EXPECT_EQ(ran_, 0);
  EXPECT_EQ(ran_, 1);
}

// 1, then 2 and 3 on two streams; `joined`: 3 waits for 2.
int replayed(const std::unique_ptr<RecordedWork>& work, Stream stream, int& ran) {
  ran = 0;
  runtime::replay(stream, *work);
  runtime::synchronize(stream);
  return ran;
}
TEST_F(EmulatedDevice, WhatEventsDoNotOrderRunsInAnotherOrderAtTheNextReplay) {
  for (const bool ordered : {false, true}) {
    const Event join = runtime::new_event();
    runtime::begin_recording(a_);
    run(a_, 1);
    runtime::record(event_, a_);
    runtime::wait(b_, event_);
    run(b_, 2);
    runtime::record(join, b_);
    if (ordered) runtime::wait(a_, join);
    run(a_, 3);
    if (!ordered) runtime::wait(a_, join);
    run(a_, 4);
    const std::unique_ptr<RecordedWork> work = runtime::end_recording(a_);
    EXPECT_EQ(ran_, 0);
    const int first = replayed(work, a_, ran_), second = replayed(work, a_, ran_);
    EXPECT_EQ(first, ordered ? 1234 : 1324);
    EXPECT_EQ(second, 1234);
    ran_ = 0;
  }
}

TEST_F(EmulatedDevice, ARecordingMayNotWaitForWorkOutsideIt) {
  run(b_, 1);
  runtime::record(event_, b_);
  runtime::begin_recording(a_);
  EXPECT_THROW(runtime::wait(a_, event_), EnvironmentError);
  EXPECT_THROW(runtime::end_recording(a_), EnvironmentError);
}

TEST_F(EmulatedDevice, NothingIsTakenFromTheSystemWhileAThreadRecords) {
  const std::size_t granule = runtime::granularity(0);
  std::byte* begin = runtime::reserve_addresses(0, granule);
  runtime::begin_recording(a_);
  EXPECT_THROW(runtime::commit(0, begin, granule), EnvironmentError);
  EXPECT_THROW(runtime::allocate_pinned(64), EnvironmentError);
  EXPECT_EQ(runtime::end_recording(a_)->node_count(), 0u);
  EXPECT_TRUE(runtime::commit(0, begin, granule));
  runtime::release_addresses(0, begin, granule, granule);
}

TEST_F(EmulatedDevice, FreshMemoryIsFullOfNaN) {
  const std::size_t granule = runtime::granularity(0), free = runtime::free_bytes(0);
  std::byte* begin = runtime::reserve_addresses(0, granule);
  ASSERT_TRUE(runtime::commit(0, begin, granule));
  EXPECT_EQ(runtime::free_bytes(0), free - granule);
  for (const std::size_t at : {std::size_t{0}, granule - sizeof(float)}) {
    float value = 0;
    std::memcpy(&value, begin + at, sizeof value);
    EXPECT_TRUE(std::isnan(value));
  }
  runtime::release_addresses(0, begin, granule, granule);
  EXPECT_EQ(runtime::free_bytes(0), free);
}

TEST_F(EmulatedDevice, AKernelNeedsTheThreadsDeviceAndAnEventItsStreams) {
  ASSERT_GE(runtime::device_count(), 2);
  runtime::use_device(1);
  EXPECT_THROW(run(a_, 1), EnvironmentError);
  EXPECT_THROW(runtime::record(runtime::new_event(), a_), EnvironmentError);
  runtime::use_device(0);
  EXPECT_NO_THROW(run(a_, 1));
  EXPECT_THROW(runtime::use_device(99), EnvironmentError);
}

TEST_F(EmulatedDevice, WorkOfTwoThreadsCanMeet) {  // as ranks do in a collective
  std::atomic<int> here{0};
  const auto meet = [&](Stream stream) {
    runtime::use_device(0);
    enqueue_work(stream, [&] {
      ++here;
      while (here < 2) std::this_thread::yield();
    });
    runtime::synchronize(stream);
  };
  std::thread other(meet, b_);
  meet(a_);
  other.join();
  EXPECT_EQ(here, 2);
}

TEST_F(EmulatedDevice, AnErrorOfQueuedWorkReachesWhoWaitsAndTheStreamGoesOn) {
  enqueue_work(a_, [] { throw EnvironmentError("of a kernel"); });
  run(a_, 1);
  EXPECT_THROW(runtime::synchronize(a_), EnvironmentError);
  runtime::synchronize(a_);
  EXPECT_EQ(ran_, 1);
}

TEST_F(EmulatedDevice, LaunchesAreCounted) {
  const std::int64_t before = launch_count();
  for_each_index(a_, 3, [](std::int64_t) {});
  for_each_index(a_, 0, [](std::int64_t) {});
  EXPECT_EQ(launch_count(), before + 1);
  runtime::synchronize(a_);
}

}  // namespace
}  // namespace lockstep::cuda
