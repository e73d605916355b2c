// The peak that is planned before the first step is the peak that the steps have.
// SPDX-License-Identifier: Apache-2.0
#include "train/memory_plan.h"

#include <gtest/gtest.h>

#include "core/host_arena.h"
#include "distributed/local_group.h"
#include "train/bench_setup.h"

namespace lockstep {
namespace {

BenchOptions small_job() {
  return {.model = "resnet18", .batch = 8, .base_width = 16, .size = 64, .classes = 10, .dtype = "f32", .backend = "FAST"};
}

// This thread's tensors in an arena that nobody else used.
class FreshArena {
 public:
  FreshArena() : arena_(true) {
    arena_.set_owner(memory_thread_id());
    exchange_thread_arena(&arena_);
  }
  ~FreshArena() { exchange_thread_arena(nullptr); }
  FreshArena(const FreshArena&) = delete;
  FreshArena& operator=(const FreshArena&) = delete;
  PoolStats stats() const { return arena_.stats(); }

 private:
  HostArena arena_;
};

struct Peaks {
  double planned = 0, measured = 0;  // bytes of one rank whose shards run on its own thread
};

Peaks peaks_of(const BenchOptions& options) {
  Peaks peaks;
  LocalGroup group(1);
  group.run([&](Communicator& comm) {
    const FreshArena arena;
    BenchJob job(options, comm);
    const std::size_t held = arena.stats().in_use_bytes;
    MemoryPlan plan = plan_memory_of(job.session());
    EXPECT_EQ(arena.stats().in_use_bytes, held) << "planning takes nothing";
    EXPECT_EQ(plan.passes, 1);
    plan.held_bytes = held;  // the process's pool is not looked at here
    for (int i = 0; i < 2; ++i) job.step();
    peaks = {static_cast<double>(plan.peak_bytes()), static_cast<double>(arena.stats().reserved_bytes)};
  });
  return peaks;
}

void expect_equal(const Peaks& peaks) {
  constexpr double kSmallVectors = 200e3;  // bucket paddings, the step's totals
  EXPECT_NEAR(peaks.planned, peaks.measured, 0.02 * peaks.measured + kSmallVectors);
  EXPECT_GT(peaks.planned, 4e6) << "the job is too small to say anything";
}

TEST(MemoryPlan, IsWhatTheStepsTake) { expect_equal(peaks_of(small_job())); }

TEST(MemoryPlan, IsWhatTheStepsTakeInBF16) {
  BenchOptions options = small_job();
  options.dtype = "bf16";
  expect_equal(peaks_of(options));
}

TEST(MemoryPlan, CountsTheGradientsOfShardsThatWaitToBeAdded) {
  for (const int accumulate : {2, 3, 4}) {
    BenchOptions options = small_job();
    options.batch = 12;
    options.accumulate = accumulate;
    SCOPED_TRACE(accumulate);
    expect_equal(peaks_of(options));
  }
}

TEST(MemoryPlan, IsWhatTheReferenceBackendTakes) {
  BenchOptions options = small_job();
  options.model = "resnet8";
  options.backend = "REFERENCE";
  options.size = 48;
  options.base_width = 8;
  options.batch = 2;
  const Peaks peaks = peaks_of(options);
  EXPECT_NEAR(peaks.planned, peaks.measured, 0.02 * peaks.measured + 200e3);
}

TEST(MemoryPlan, CountsAllPassesThatMeetInBatchNorm) {
  BenchOptions options = small_job();
  LocalGroup group(1);
  group.run([&](Communicator& comm) {
    BenchJob small(options, comm);
    const MemoryPlan one = plan_memory_of(small.session());
    options.batch *= 2;
    options.accumulate = 2;
    options.norm_scope = "GLOBAL";
    BenchJob job(options, comm);
    const MemoryPlan two = plan_memory_of(job.session());
    EXPECT_EQ(two.passes, 2);
    EXPECT_EQ(two.gradient_bytes, 2 * one.gradient_bytes);
    EXPECT_NEAR(static_cast<double>(two.pass_bytes), static_cast<double>(one.pass_bytes), 0.01 * static_cast<double>(one.pass_bytes));
    job.step();  // and the job is as it was
  });
}

// The control: without looking at Rehearsal::active() kernels would change what they are given.
TEST(MemoryPlan, ComputesNothing) {
  const BenchOptions options = small_job();
  LocalGroup group(1);
  group.run([&](Communicator& comm) {
    BenchJob job(options, comm);
    const auto before = hash_state(job.session());
    plan_memory_of(job.session());
    EXPECT_EQ(hash_state(job.session()), before);
    job.step();
    EXPECT_NE(hash_state(job.session()), before);
  });
}

TEST(MemoryPlan, SaysWhatItIsMadeOf) {
  const MemoryPlan plan{.held_bytes = 205'000'000, .gradient_bytes = 102'400'000, .pass_bytes = 1'335'000'000, .passes = 1};
  EXPECT_EQ(describe_memory(plan), "1642 MB of tensors per rank at the peak: 205 held, 102 for gradients, 1335 for a shard's pass");
  const MemoryPlan small{.held_bytes = 1'230'000, .gradient_bytes = 0, .pass_bytes = 2'000'000, .passes = 2};
  EXPECT_EQ(describe_memory(small), "5.2 MB of tensors per rank at the peak: 1.2 held, 0.0 for gradients, 4.0 for 2 shards' passes");
}

}  // namespace
}  // namespace lockstep
