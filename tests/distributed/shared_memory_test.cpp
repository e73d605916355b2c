// Shared memory between ranks: what is shared with whom, between real processes too, and what happens when it can't be.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "distributed/local_group.h"
#include "distributed/shared_connect.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

using Hosts = std::vector<std::string>;

TEST(SharedBlock, IsTheLargestSubtreeOnOneHostAndAnyNumberOnASingleHost) {
  EXPECT_EQ(shared_block(Hosts(3, "a")), 3);
  EXPECT_EQ(shared_block(Hosts{"a", "a", "b", "b"}), 2);
  EXPECT_EQ(shared_block(Hosts{"a", "b", "a", "b"}), 1);  // placed in turn: neighbours in the tree are on different hosts
  EXPECT_EQ(shared_block(Hosts{"a", "a", "a", "a", "b", "b", "c", "c"}), 2);
  EXPECT_EQ(shared_block(Hosts{"a", "a", "a", "b", "b", "b"}), 1);
  EXPECT_EQ(shared_block(Hosts{"a"}), 1);
}

TEST(SharedMemory, BannersSayWhatIsShared) {
  const auto transport = [](int ranks, bool share, int per_host) {
    LocalGroup group(ranks, {.share_memory = share}, per_host);
    return std::string(group.communicator(0).transport());
  };
  EXPECT_EQ(transport(4, true, 0), "local, shared memory");
  EXPECT_EQ(transport(4, true, 2), "local, shared memory in blocks of 2 ranks");
  EXPECT_EQ(transport(4, true, 1), "local");
  EXPECT_EQ(transport(4, false, 0), "local");
}

TEST(SharedMemory, ABufferOutlivesItsCommunicatorAndIsHandedOutAgain) {
  Tensor kept;
  {
    LocalGroup group(2);
    Communicator& comm = group.communicator(0);
    const void* first = comm.make_buffer(Shape{1000}, DType::kF32).ptr();
    kept = comm.make_buffer(Shape{1000}, DType::kF32);
    EXPECT_EQ(kept.ptr(), first);
    EXPECT_NE(comm.make_buffer(Shape{1000}, DType::kF32).ptr(), first);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(kept.ptr()) % 64, 0u);
    kept.host<float>()[999] = 7;
  }
  EXPECT_EQ(kept.host<float>()[999], 7);
}

// Runs fn in a process of its own; its exit code, or 128 + signal.
int in_child(const std::function<int()>& fn) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(fn());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(SharedSegment, AnotherProcessSeesWhatIsAddedLater) {
  std::string reason;
  const auto own = SharedSegment::create(reason);
  ASSERT_TRUE(own) << reason;
  const SegmentAddress address = own->address();
  const std::string file = "/proc/" + std::to_string(address.pid) + "/fd/" + std::to_string(address.fd);
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", ("sleep 0.2; tail -c +4097 " + file + " | head -c 9 | grep -q lockstep").c_str(), nullptr);
    ::_exit(99);
  }
  const std::uint64_t offset = own->extend(100);
  EXPECT_EQ(offset, 4096u);
  std::memcpy(own->at(offset), "lockstep\n", 9);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(SharedSegment, AnotherProcessesFileIsNotTakenForAPeers) {
  std::string reason;
  const auto own = SharedSegment::create(reason);
  ASSERT_TRUE(own) << reason;
  SegmentAddress wrong = own->address();
  wrong.nonce ^= 1;  // the same process id and descriptor in another container
  EXPECT_FALSE(SharedSegment::open(wrong, reason));
  EXPECT_NE(reason.find("belongs to another process"), std::string::npos) << reason;
  wrong.fd = 0;
  EXPECT_FALSE(SharedSegment::open(wrong, reason));
}

TEST(SharedSegment, LeavesNoNameBehindWhenItsProcessIsKilled) {
  const auto count = [] {
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/dev/shm")) ++files;
    return files;
  };
  const std::size_t before = count();
  EXPECT_EQ(in_child([] {
              std::string reason;
              const auto segment = SharedSegment::create(reason);
              if (!segment) return 1;
              segment->extend(1 << 20);
              std::raise(SIGKILL);
              return 2;
            }),
            128 + SIGKILL);
  EXPECT_EQ(count(), before);
}

// All ranks reduce; 0 if the sums are right and the banner says `note`.
int reduce_and_look_for(const std::string& note) {
  LocalGroup group(4);
  bool right = true;
  group.run([&](Communicator& comm) {
    Tensor buffer = comm.make_buffer(Shape{10000}, DType::kF32);
    std::ranges::fill(buffer.host<float>(), static_cast<float>(comm.rank()));
    comm.wait(comm.all_reduce_async(buffer, {}, "limited"));
    if (std::ranges::count(buffer.host<float>(), 6.0F) != 10000) right = false;
    comm.barrier();
  });
  if (!right) return 1;
  return group.communicator(1).transport().find(note) == std::string_view::npos ? 2 : 0;
}

TEST(SharedMemory, WhereTheSystemRefusesMessagesDoAndTheBannerSaysWhy) {
  EXPECT_EQ(in_child([] { return reduce_and_look_for("local, shared memory"); }), 0);
  EXPECT_EQ(in_child([] {
              const rlimit limit{1 << 20, 1 << 20};
              ::setrlimit(RLIMIT_FSIZE, &limit);
              return reduce_and_look_for("no shared memory: rank 0, file sizes are limited (ulimit -f)");
            }),
            0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their shadow needs the address space
  EXPECT_EQ(in_child([] {
              Tensor::zeros(Shape{1}, DType::kF32);  // the pool has its address space
              std::size_t pages = 0;
              std::ifstream("/proc/self/statm") >> pages;
              const std::size_t enough_for_the_rest = (pages << 12) + (std::size_t{8} << 30);
              const rlimit limit{enough_for_the_rest, enough_for_the_rest};
              ::setrlimit(RLIMIT_AS, &limit);
              return reduce_and_look_for("no shared memory: rank 0, mapping shared memory: Cannot allocate memory");
            }),
            0);
#endif
}

TEST(SharedMemory, RunningOutLaterIsAnErrorWithAHint) {
  std::string reason;
  const auto segment = SharedSegment::create(reason);
  ASSERT_TRUE(segment) << reason;
  const std::string message = testing::message_of<EnvironmentError>([&] { segment->extend(std::size_t{64} << 30); });
  EXPECT_NE(message.find("out of shared memory: wanted 68719476736 bytes"), std::string::npos) << message;
  EXPECT_NE(message.find("bucket_mb"), std::string::npos) << message;
}

TEST(SharedMemory, DifferentBuffersAreAnErrorThatNamesTheRankAndTheSizes) {
  LocalGroup group(2, {.deadline_seconds = 2});
  const std::string message = testing::message_of<EnvironmentError>([&] {
    group.run([](Communicator& comm) {
      const Tensor buffer = comm.make_buffer(Shape{comm.rank() == 0 ? 10 : 11}, DType::kF32);
      comm.wait(comm.all_reduce_async(buffer, {}, "uneven"));
    });
  });
  EXPECT_NE(message.find("bytes"), std::string::npos) << message;
}

// Chunks are claimed by whoever comes first; many operations of all sizes, back to back, must not disturb each other.
TEST(SharedMemory, QuickAndSlowRanksStayInStep) {
  LocalGroup group(4);
  group.run([](Communicator& comm) {
    Tensor buffer = comm.make_buffer(Shape{100000}, DType::kF32), small = comm.make_buffer(Shape{3}, DType::kF32);
    for (int i = 0; i < 200; ++i) {
      Tensor& used = i % 3 == 0 ? buffer : small;
      std::ranges::fill(used.host<float>(), static_cast<float>(comm.rank() + i));
      if (comm.rank() == i % 4) std::this_thread::sleep_for(std::chrono::microseconds(50 * (i % 7)));
      comm.wait(comm.all_reduce_async(used, {}, "in step"));
      const auto values = used.host<float>();
      ASSERT_EQ(std::ranges::count(values, static_cast<float>(6 + 4 * i)), static_cast<std::ptrdiff_t>(values.size())) << i;
    }
  });
}

}  // namespace
}  // namespace lockstep
