// The host's pool: threads, other threads' releases, what the system is asked for, rehearsals, forked processes.
// SPDX-License-Identifier: Apache-2.0
#include "core/memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/host_arena.h"
#include "core/poison.h"
#include "core/rehearsal.h"
#include "core/tensor.h"

namespace lockstep {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

Tensor bytes(std::int64_t n) { return Tensor::empty({n}, DType::kU8); }

bool resident(const void* page) {
  unsigned char in_memory = 0;
  return ::mincore(const_cast<void*>(page), 1, &in_memory) == 0 && (in_memory & 1) != 0;
}

const std::byte* page_of(const Tensor& tensor, std::int64_t offset) {
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.ptr()) + static_cast<std::uintptr_t>(offset);
  return reinterpret_cast<const std::byte*>(address / 4096 * 4096);
}

TEST(HostMemory, MemoryReleasedByAnotherThreadComesBack) {
  std::vector<Tensor> tensors;
  const PoolStats empty = cpu_pool().stats();
  for (int i = 0; i < 100; ++i) tensors.push_back(bytes(5000 + i));
  const PoolStats before = cpu_pool().stats();
  std::thread([&] { tensors.clear(); }).join();
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, empty.in_use_bytes);
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 100; ++i) tensors.push_back(bytes(5000 + i));
    std::thread([&] { tensors.clear(); }).join();
  }
  EXPECT_EQ(cpu_pool().stats().reserved_bytes, before.reserved_bytes) << "it was not used again";
}

TEST(HostMemory, TensorsOutliveTheirThreadAndItsMemoryServesTheNext) {
  Tensor left;
  std::thread([&] {
    left = bytes(3 * kMiB);
    std::ranges::fill(left.host<std::uint8_t>(), std::uint8_t{7});
  }).join();
  const std::size_t reserved = cpu_pool().stats().reserved_bytes;
  for (int i = 0; i < 5; ++i)
    std::thread([] { std::ranges::fill(bytes(2 * kMiB).host<std::uint8_t>(), std::uint8_t{1}); }).join();
  const auto values = left.host<std::uint8_t>();
  EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](std::uint8_t v) { return v == 7; }));
  left = Tensor();
  for (int i = 0; i < 5; ++i) std::thread([] { bytes(5 * kMiB); }).join();
  EXPECT_LE(cpu_pool().stats().reserved_bytes, reserved + 2 * kMiB + 4096) << "threads that ended left their memory behind";
}

// Producers hand tensors over through slots; whoever finds one there checks and releases it.
TEST(HostMemory, HandsOverBetweenManyThreads) {
  constexpr int kThreads = 4, kRounds = 3000;
  std::array<std::atomic<Tensor*>, 8> slots{};
  std::atomic<int> wrong{0};
  const auto check_and_drop = [&](Tensor* tensor) {
    if (tensor == nullptr) return;
    const auto values = tensor->host<std::int32_t>();
    for (const std::int32_t value : values) wrong += value != values[0];
    delete tensor;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        auto* tensor = new Tensor(Tensor::empty({1 + (i * 7 + t) % 300}, DType::kI32));
        std::ranges::fill(tensor->host<std::int32_t>(), t * kRounds + i);
        check_and_drop(slots[static_cast<std::size_t>(i + t) % slots.size()].exchange(tensor));
      }
    });
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  for (std::thread& thread : threads) thread.join();
  for (auto& slot : slots) check_and_drop(slot.exchange(nullptr));
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(cpu_pool().stats().in_use_bytes, before);
}

TEST(HostMemory, AnExceptionGivesEverythingBack) {
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  const auto step = [] {
    const Tensor a = bytes(kMiB), b = bytes(3 * kMiB);
    throw std::runtime_error("in the middle");
  };
  EXPECT_THROW(step(), std::runtime_error);
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, before);
}

TEST(HostMemory, TooMuchIsAnErrorThatSaysHowMuch) {
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  try {
    Tensor::empty({std::int64_t{1} << 60}, DType::kU8);
    FAIL() << "an exabyte";
  } catch (const EnvironmentError& error) {
    EXPECT_NE(std::string(error.what()).find("wanted 1152921504606846976 bytes"), std::string::npos) << error.what();
  }
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, before);
  EXPECT_TRUE(bytes(100)) << "and goes on";
}

TEST(HostMemory, PrefaultingMakesPagesBeforeTheirFirstUse) {
  std::thread([] {  // on an arena that nobody used so far up
    const auto below = static_cast<std::int64_t>(thread_arena().stats().reserved_bytes);
    prefault_memory(24 * kMiB);
    const Tensor tensor = bytes(below + 40 * kMiB);
    EXPECT_TRUE(resident(page_of(tensor, below + 20 * kMiB)));
    EXPECT_FALSE(resident(page_of(tensor, below + 36 * kMiB))) << "the control: untouched memory is not resident";
  }).join();
}

// What a forked process says: its exit code.
template <class Function>
int in_child(Function function) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(function());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(HostMemory, AForkedProcessDoesNotInheritIt) {
  const Tensor tensor = bytes(kMiB);
  std::ranges::fill(Tensor(tensor).host<std::uint8_t>(), std::uint8_t{1});
  const auto sees_it = [&] { return resident(page_of(tensor, kMiB / 2)) ? 1 : 0; };
  EXPECT_EQ(in_child(sees_it), 1) << "the control";
  {
    const MemoryNotInherited guard;
    EXPECT_EQ(in_child(sees_it), 0);
    EXPECT_EQ(in_child([] {
                Tensor fresh = bytes(kMiB);
                std::ranges::fill(fresh.host<std::uint8_t>(), std::uint8_t{3});
                return static_cast<int>(fresh.host<std::uint8_t>()[kMiB - 1]);
              }),
              3) << "it has a pool of its own";
  }
  EXPECT_EQ(in_child(sees_it), 1);
}

TEST(Rehearsal, MeasuresWithoutTakingMemory) {
  const PoolStats before = cpu_pool().stats();
  EXPECT_FALSE(Rehearsal::active());
  {
    const Rehearsal rehearsal;
    EXPECT_TRUE(Rehearsal::active());
    std::thread([] { EXPECT_FALSE(Rehearsal::active()) << "of this thread alone"; }).join();
    Tensor a = bytes(512 * kMiB);
    { const Tensor scratch = bytes(100 * kMiB); }
    const Tensor b = bytes(64 * kMiB);
    a = Tensor();
    EXPECT_FALSE(resident(page_of(b, kMiB)));
    EXPECT_EQ(rehearsal.peak_bytes(), std::size_t{612 * kMiB} + 2 * kPoisonGap);
  }
  EXPECT_FALSE(Rehearsal::active());
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, before.in_use_bytes);
  EXPECT_EQ(cpu_pool().stats().reserved_bytes, before.reserved_bytes);
}

TEST(Rehearsal, OlderTensorsMayBeReleasedInIt) {
  Tensor older = bytes(5 * kMiB);
  const std::size_t in_use = cpu_pool().stats().in_use_bytes;
  {
    const Rehearsal rehearsal;
    older = Tensor();
    EXPECT_EQ(rehearsal.peak_bytes(), 0u);
  }
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, in_use - std::size_t{5 * kMiB});
}

TEST(Rehearsal, HasTheSamePeakAsTheWorkItself) {
  const auto work = [] {
    std::vector<Tensor> kept;
    for (std::int64_t i = 0; i < 60; ++i) {
      const Tensor scratch = bytes(i % 5 * 10'000);
      kept.push_back(bytes(100'000 + i * 777));
    }
  };
  std::size_t rehearsed = 0, real = 0;
  {
    const Rehearsal rehearsal;
    work();
    rehearsed = rehearsal.peak_bytes();
  }
  HostArena arena(false);
  arena.set_owner(memory_thread_id());
  exchange_thread_arena(&arena);
  work();
  exchange_thread_arena(nullptr);
  real = arena.stats().reserved_bytes;
  EXPECT_EQ(rehearsed, real);
  EXPECT_GT(real, 60u * 100'000);
}

TEST(Poison, MarksWhatIsNotInUse) {
  if (kPoisonGap == 0) GTEST_SKIP() << "needs a build with AddressSanitizer";
  Tensor tensor = bytes(100);
  const auto* data = static_cast<const std::byte*>(tensor.ptr());
  EXPECT_FALSE(is_poisoned(data) || is_poisoned(data + 99));
  EXPECT_TRUE(is_poisoned(data + 104)) << "beyond the end";
  tensor = Tensor();
  EXPECT_TRUE(is_poisoned(data)) << "after release";
  tensor = bytes(100);
  EXPECT_EQ(tensor.ptr(), data);
  EXPECT_FALSE(is_poisoned(data)) << "in use again";
}

}  // namespace
}  // namespace lockstep
