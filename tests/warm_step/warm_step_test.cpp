// A warm training step takes nothing from malloc, waits for no lock and asks the system for nothing, on the thread that
// computes and outside of the loader and the transport. (oneDNN, OpenMP and the libraries under them are not ours.)
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "distributed/local_group.h"
#include "tests/warm_step/watch.h"
#include "train/bench_setup.h"

namespace lockstep {
namespace {

bool is_ours(const test::Sighting& sighting) {
  constexpr std::string_view kNotOurs[] = {"lockstep::Loader::", "lockstep::Batch::", "Communicator::", "Transport::", "lockstep::SharedReduce::",
                                           "in libdnnl",         "in libgomp",        "in libmpi",      "in libopen-"};
  return std::ranges::none_of(sighting.stack, [&](const std::string& name) {
    return std::ranges::any_of(kNotOurs, [&](std::string_view part) { return name.find(part) != std::string::npos; });
  });
}

std::string text_of(const test::Sighting& sighting) {
  std::string text = sighting.what;
  for (const std::string& name : sighting.stack) text += "\n    " + name;
  return text;
}

// What `ranks` ranks' computing threads do in three warm steps; fewer than all when the kernel forbids trapping.
void expect_quiet_steps(const BenchOptions& options, int ranks) {
  std::mutex mutex;
  std::vector<std::string> ours;
  bool trapped = true;
  LocalGroup group(ranks);
  const auto rank_main = [&](Communicator& comm) {
    BenchJob job(options, comm);
    for (int i = 0; i < 3; ++i) job.step();
    const bool traps = test::trap_system_calls();
    test::Watch watch;
    for (int i = 0; i < 3; ++i) job.step();
    const std::vector<test::Sighting> seen = watch.stop();
    const std::lock_guard lock(mutex);
    trapped = trapped && traps;
    for (const test::Sighting& sighting : seen)
      if (is_ours(sighting)) ours.push_back(text_of(sighting));
  };
  std::thread([&] { group.run(rank_main); }).join();  // trapping lasts as long as its thread
  std::ranges::sort(ours);
  const auto copies = std::ranges::unique(ours);
  ours.erase(copies.begin(), copies.end());
  for (const std::string& text : ours) ADD_FAILURE() << text;
  if (!trapped) GTEST_SKIP() << "seccomp is not allowed here: system calls were not watched";
}

BenchOptions small_resnet() {
  return {.model = "resnet8", .batch = 16, .size = 32, .classes = 10, .backend = "FAST"};
}

TEST(WarmStep, OfASmallResNetAsksForNothing) { expect_quiet_steps(small_resnet(), 1); }

TEST(WarmStep, OfFashionMnistsNetAsksForNothing) {
  BenchOptions options = small_resnet();
  options.model = "resnet14";
  options.size = 28;
  options.channels = 1;
  expect_quiet_steps(options, 1);
}

TEST(WarmStep, InBF16AsksForNothing) {
  BenchOptions options = small_resnet();
  options.dtype = "bf16";
  expect_quiet_steps(options, 1);
}

// Between them they have every layer and block that there is.
TEST(WarmStep, OfOtherNetworksAsksForNothing) {
  struct Case {
    const char* model;
    int size, base_width;
    const char* dtype;
  };
  const Case cases[] = {{"alexnet_grouped", 67, 8, "f32"}, {"inception_v3", 75, 4, "f32"},      {"shiftnet_a", 32, 8, "f32"},
                        {"squeezenet1_1", 32, 8, "bf16"},  {"shufflenet_v1_g3", 32, 0, "bf16"}, {"mobilenet_v2", 32, 0, "bf16"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.model);
    BenchOptions options = small_resnet();
    options.model = c.model;
    options.batch = 2;
    options.size = c.size;
    options.base_width = c.base_width;
    options.dtype = c.dtype;
    expect_quiet_steps(options, 1);
  }
}

TEST(WarmStep, OfTwoRanksThatAccumulateAsksForNothing) {
  BenchOptions options = small_resnet();
  options.accumulate = 2;
  expect_quiet_steps(options, 2);
}

TEST(Watch, SeesMallocMutexAndSystemCalls) {  // the control
  std::vector<std::string> seen;
  bool trapped = false;
  std::thread([&] {
    std::mutex mutex;
    trapped = test::trap_system_calls();
    test::Watch watch;
    std::vector<int> grows(100);
    { const std::lock_guard lock(mutex); }
    const auto pid = ::getppid();
    for (const test::Sighting& sighting : watch.stop()) seen.push_back(sighting.what);
    EXPECT_GT(static_cast<int>(grows.size()) + pid, 100);
  }).join();
  std::vector<std::string> expected{"malloc", "mutex"};
  if (trapped) expected.push_back("system call 110");
  EXPECT_EQ(seen, expected);
}

}  // namespace
}  // namespace lockstep
