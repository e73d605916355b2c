// Deadlines: the verdict names who is late, who is silent and who waits; and every waiting call ends.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "distributed/flight_recorder.h"
#include "distributed/local_group.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// All ranks reduce twice; `late` comes to the second one only after `delay`. Returns each rank's message.
std::vector<std::string> messages_with_late_rank(LocalGroup& group, int late, milliseconds delay) {
  std::vector<std::string> messages(static_cast<std::size_t>(group.size()));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < group.size(); ++rank)
    threads.emplace_back([&, rank] {
      Communicator& comm = group.communicator(rank);
      messages[static_cast<std::size_t>(rank)] = testing::message_of<EnvironmentError>([&] {
        comm.set_activity(41, "data_wait");
        Tensor buffer = Tensor::zeros(Shape{1000}, DType::kF32);
        comm.wait(comm.all_reduce_async(buffer, {}, "bucket 1 of 2 (fc.weight)"));
        if (rank == late) std::this_thread::sleep_for(delay);
        comm.wait(comm.all_reduce_async(buffer, {}, "bucket 2 of 2 (conv1.weight .. bn1.bias, 3 tensors)"));
      });
    });
  for (std::thread& thread : threads) thread.join();
  return messages;
}

TEST(Deadline, VerdictNamesTheLateRankTheBucketAndTheStep) {
  const auto directory = std::filesystem::temp_directory_path() / ("lockstep_deadline_" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  CommunicatorOptions options{.deadline_seconds = 0.4, .report_dir = directory.string()};
  options.on_abandoned = [](ExitCode, const std::string& message) { EXPECT_TRUE(contains(message, "stopped, because rank")) << message; };
  LocalGroup group(4, options);
  const auto messages = messages_with_late_rank(group, 2, milliseconds(2500));
  for (const int rank : {0, 1, 3}) {
    const std::string& message = messages[static_cast<std::size_t>(rank)];
    EXPECT_TRUE(contains(message, "bucket 2 of 2 (conv1.weight .. bn1.bias, 3 tensors), step 41")) << message;
    EXPECT_TRUE(contains(message, "late: rank 2 (localhost, pid")) << message;
    EXPECT_TRUE(contains(message, "bucket 1 of 2 (fc.weight), now in data_wait of step 41")) << message;
    EXPECT_TRUE(contains(message, "waiting: rank 0, 1, 3")) << message;
    EXPECT_FALSE(contains(message, "silent")) << message;
    EXPECT_LE(std::count(message.begin(), message.end(), '\n'), 4);
  }
  std::ifstream file(directory / "collectives_rank0.txt");
  std::stringstream text;
  text << file.rdbuf();
  for (int rank = 0; rank < 4; ++rank) EXPECT_TRUE(contains(text.str(), "rank " + std::to_string(rank) + " (localhost")) << text.str();
  EXPECT_TRUE(contains(text.str(), "bucket 1 of 2 (fc.weight)"));
  std::filesystem::remove_all(directory);
}

TEST(Deadline, ARankThatMerelyComesLateButInTimeIsNoFailure) {
  LocalGroup group(2, {.deadline_seconds = 5});
  for (const std::string& message : messages_with_late_rank(group, 1, milliseconds(300))) EXPECT_EQ(message, "");
}

TEST(Deadline, AStoppedRankIsNamedSilentAndTheOthersEndInTime) {
  LocalGroup group(4, {.deadline_seconds = 0.5});
  std::vector<std::string> messages(4);
  std::vector<double> ended(4);
  std::vector<std::thread> threads;
  group.suspend(1);
  const auto start = Clock::now();
  for (int rank = 0; rank < 4; ++rank) {
    if (rank == 1) continue;
    threads.emplace_back([&, rank] {
      Communicator& comm = group.communicator(rank);
      const auto index = static_cast<std::size_t>(rank);
      messages[index] = testing::message_of<EnvironmentError>([&] { comm.barrier("epoch end"); });
      ended[index] = seconds_since(start);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int rank : {0, 2, 3}) {
    const std::string& message = messages[static_cast<std::size_t>(rank)];
    EXPECT_TRUE(contains(message, "silent (stopped, dead or unreachable): rank 1 (localhost)")) << message;
    EXPECT_TRUE(contains(message, "epoch end")) << message;
    EXPECT_LT(ended[static_cast<std::size_t>(rank)], 0.5 + 1.0);
  }
}

TEST(Deadline, EveryLaterCallThrowsTheSameVerdict) {
  LocalGroup group(2, {.deadline_seconds = 0.2});
  Communicator& comm = group.communicator(0);
  const std::string first = testing::message_of<EnvironmentError>([&] { comm.barrier("alone"); });
  EXPECT_TRUE(contains(first, "late: rank 1")) << first;
  EXPECT_EQ(testing::message_of<EnvironmentError>([&] { comm.barrier("again"); }), first);
  try {
    comm.all_reduce_async(Tensor::zeros(Shape{1}, DType::kF32), {}, "again");
    ADD_FAILURE() << "submitted after a failure";
  } catch (const EnvironmentError& error) {
    EXPECT_EQ(error.code(), ExitCode::kTempFail);
  }
}

TEST(Deadline, ACallerThatNeverComesIsEndedByTheHook) {
  std::mutex mutex;
  std::string abandoned;
  std::atomic<int> calls{0};
  CommunicatorOptions options{.deadline_seconds = 0.2};
  options.on_abandoned = [&](ExitCode code, const std::string& message) {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(code, ExitCode::kTempFail);
    abandoned = message;
    ++calls;
  };
  const auto start = Clock::now();
  LocalGroup group(2, options);
  group.communicator(0).all_reduce_async(Tensor::zeros(Shape{8}, DType::kF32), {}, "bucket 1 of 1 (w)");  // never waits
  while (calls == 0 && seconds_since(start) < 10) std::this_thread::sleep_for(milliseconds(10));
  const std::lock_guard lock(mutex);
  EXPECT_TRUE(contains(abandoned, "late: rank 1")) << abandoned;
  EXPECT_LT(seconds_since(start), 0.2 + 0.3 + 1.0 + 1.0);
}

TEST(Deadline, RanksThatRunDifferentProgramsAreToldSo) {
  LocalGroup group(2, {.deadline_seconds = 0.3});
  std::vector<std::string> messages(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      Communicator& comm = group.communicator(rank);
      messages[static_cast<std::size_t>(rank)] = testing::message_of<EnvironmentError>([&] {
        if (rank == 0) {
          int value = 1;
          comm.broadcast(std::as_writable_bytes(std::span(&value, 1)), 1, "broadcast of the config");
        } else {
          comm.barrier("start");
        }
        comm.barrier("later");
      });
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(contains(messages[0], "ranks disagree") || contains(messages[1], "ranks disagree") ||
              contains(messages[0], "expected") || contains(messages[1], "expected"))
      << messages[0] << "\n" << messages[1];
}

TEST(Deadline, DestroyingAGroupInTheMiddleOfAnOperationDoesNotHang) {
  const auto start = Clock::now();
  {
    LocalGroup group(2, {.deadline_seconds = 60});
    group.communicator(0).all_reduce_async(Tensor::zeros(Shape{100000}, DType::kF32), {}, "half");
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_LT(seconds_since(start), 2);
}

// ---- the verdict as a pure function

std::optional<Status> status(int rank, std::uint64_t submitted, std::uint64_t completed) {
  Status s{.rank = rank, .pid = 100 + rank, .submitted = submitted, .completed = completed, .step = 7};
  copy_label(s.activity, "forward");
  FlightRecorder recorder;
  for (std::uint64_t n = 1; n <= submitted; ++n) copy_label(recorder.add(n).label, "op " + std::to_string(n));
  recorder.fill(s);
  return s;
}

TEST(Verdict, TellsLateSilentAndWaitingApart) {
  const std::vector<std::string> hosts = {"n0", "n0", "n1", "n1"};
  const std::vector<std::optional<Status>> statuses = {status(0, 70, 69), status(1, 69, 69), std::nullopt, status(3, 71, 69)};
  const Verdict verdict = judge(70, 3, "a collective missed its deadline of 30 s", "", statuses, hosts, "/tmp/report.txt");
  EXPECT_EQ(verdict.late, std::vector<int>{1});
  EXPECT_EQ(verdict.silent, std::vector<int>{2});
  EXPECT_EQ(verdict.waiting, (std::vector<int>{0, 3}));
  EXPECT_EQ(verdict.speaker, 0);
  EXPECT_EQ(verdict.message,
            "a collective missed its deadline of 30 s: #70 op 70, step 0\n"
            "late: rank 1 (n0, pid 101) last joined #69 op 69, now in forward of step 7\n"
            "silent (stopped, dead or unreachable): rank 2 (n1)\n"
            "waiting: rank 0, 3\n"
            "last collectives of all ranks: /tmp/report.txt");
}

TEST(Verdict, ManyLateRanksAreCountedAndAHealthyStallBlamesTheNetwork) {
  std::vector<std::optional<Status>> statuses = {status(0, 5, 4)};
  for (int r = 1; r < 40; ++r) statuses.push_back(status(r, 4, 4));
  const std::vector<std::string> hosts(40, "node");
  EXPECT_TRUE(contains(judge(5, 0, "late", "", statuses, hosts, "").message, "and 36 more"));
  EXPECT_TRUE(contains(judge(4, 0, "late", "in bucket 1 of 1 (w)", std::vector{status(0, 4, 3), status(1, 4, 3)}, {hosts.data(), 2}, "").message, "network"));
}

TEST(FlightRecorder, KeepsTheLast64) {
  const auto s = status(0, 200, 200);
  EXPECT_EQ(s->record_count, 64u);
  EXPECT_EQ(s->records[0].number, 137u);
  EXPECT_EQ(s->records[63].label_view(), "op 200");
  EXPECT_EQ(s->find(136), nullptr);
}

}  // namespace
}  // namespace lockstep
