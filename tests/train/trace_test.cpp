// What a traced step leaves behind: the same weights as an untraced one, arithmetic that agrees with the model's table, and a
// file whose spans nest.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "core/trace.h"
#include "tests/train/trace_checks.h"
#include "train/bench_setup.h"
#include "train/trace_kernels.h"
#include "train/trace_profile.h"

namespace lockstep {
namespace {

using nlohmann::json;

BenchOptions tiny() { return {.model = "resnet8", .batch = 4, .base_width = 4, .size = 16, .classes = 4, .warmup = 1, .steps = 3}; }

TEST(TracingKernels, ATracedStepComputesTheSameBits) {
  const auto comm = make_solo_communicator();
  BenchJob plain(tiny(), *comm), traced(tiny(), *comm);
  for (int i = 0; i < 3; ++i) plain.step();
  OpLog log(4096);
  {
    const KernelTap tap(traced.session().network.kernels, log);
    for (int i = 0; i < 3; ++i) traced.step();
  }
  EXPECT_GT(log.calls().size(), 100u);
  EXPECT_EQ(log.dropped(), 0u);
  EXPECT_EQ(hash_state(plain.session()), hash_state(traced.session()));
}

TEST(TracingKernels, TheTapLeavesTheBackendAsItWas) {
  const auto comm = make_solo_communicator();
  BenchJob job(tiny(), *comm);
  const Kernels* before = job.session().network.kernels.get();
  OpLog log(4096);
  {
    const KernelTap tap(job.session().network.kernels, log);
    EXPECT_NE(job.session().network.kernels.get(), before);
    EXPECT_EQ(job.session().network.kernels->name(), before->name());
    job.step();
  }
  EXPECT_EQ(job.session().network.kernels.get(), before);
  const std::size_t calls = log.calls().size();
  job.step();
  EXPECT_EQ(log.calls().size(), calls) << "without the tap nothing is recorded";
}

// Convolutions and matrix products: forward once, backward twice, but for the images' gradient, which nobody needs.
TEST(TracingKernels, TheArithmeticIsThatOfTheModelsTable) {
  const auto comm = make_solo_communicator();
  BenchJob job(tiny(), *comm);
  OpLog log(4096);
  const KernelTap tap(job.session().network.kernels, log);
  job.step();
  double forward = 0, stem = 0;
  for (const LayerInfo& layer : job.session().network.model->layers({4, 3, 16, 16})) {
    if (forward == 0) stem = 2.0 * static_cast<double>(layer.multiply_adds);
    forward += 2.0 * static_cast<double>(layer.multiply_adds);
  }
  ASSERT_GT(stem, 0);
  double counted = 0;
  for (const OpCall& call : log.calls()) counted += call.flops;
  EXPECT_DOUBLE_EQ(counted, 3 * forward - stem);
}

// A function with a default that isn't passed on would take the default's way instead of the backend's.
TEST(TracingKernels, EveryFunctionOfTheContractIsPassedOn) {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  ASSERT_NE(source, nullptr) << "run the tests through ctest";
  const auto read = [&](const char* name) {
    std::ifstream file(std::filesystem::path(source) / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string contract = read("ops/kernels.h"), tracing = read("train/trace_kernels.cpp");
  const std::string keyword = "virtual ";  // virtual <type> <name>(
  int functions = 0;
  for (std::size_t at = contract.find(keyword); at != std::string::npos; at = contract.find(keyword, at + 1)) {
    const std::size_t open = contract.find('(', at), space = contract.rfind(' ', open);
    const std::string name = contract.substr(space + 1, open - space - 1);
    if (name.starts_with('~')) continue;  // the destructor
    ++functions;
    EXPECT_NE(tracing.find(" " + name + "("), std::string::npos) << name;
    EXPECT_NE(tracing.find("inner_." + name + "("), std::string::npos) << name;
  }
  EXPECT_GT(functions, 30);
}

TEST(OpLog, AFullLogCountsWhatItLost) {
  OpLog log(1);
  OpCall call;
  call.name = "add";
  EXPECT_EQ(log.add(call), 0);
  EXPECT_EQ(log.add(call), -1);
  EXPECT_EQ(log.dropped(), 1u);
}

TEST(OpLog, CallsOfEqualWorkAreOneGroupAndOthersAreNot) {
  OpLog log(16);
  OpCall call;
  call.name = "add";
  call.shapes[0] = {2, 3};
  call.shape_count = 1;
  std::vector<std::size_t> steps;
  for (int step = 0; step < 3; ++step) {
    steps.push_back(log.calls().size());
    for (int i = 0; i < 2; ++i) {
      call.begin_ns = 0;
      call.end_ns = (step + 1) * 1'000'000;
      log.add(call);
    }
    OpCall other = call;
    other.shapes[0] = {2, 4};
    log.add(other);
  }
  const std::vector<OpGroup> groups = group_ops(log, steps);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].calls, 2);
  EXPECT_DOUBLE_EQ(groups[0].median_ms, 4);  // two calls of 1, 2 and 3 ms: 2, 4, 6 a step
  EXPECT_EQ(groups[1].calls, 1);
}

class ProfiledSteps : public ::testing::Test {
 protected:
  ~ProfiledSteps() override { std::filesystem::remove(file_); }
  // `count` steps of which `traced` are traced after the first; the file's content.
  std::string run(int count, int traced = 2) {
    const auto comm = make_solo_communicator();
    BenchJob job(tiny(), *comm);
    Profiler profiler({.file = file_, .steps = traced, .skip = 1}, job.session().network.kernels, *comm);
    for (int i = 0; i < count; ++i) {
      EXPECT_EQ(profiler.before_step(), i == 1 + traced);
      job.step();
    }
    EXPECT_EQ(profiler.finish(), count > 1 && count <= 1 + traced);
    EXPECT_EQ(profiler.written(), count > 1);
    EXPECT_EQ(profiler.dropped(), 0u);
    std::ifstream file(file_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string file_ = ::testing::TempDir() + "lockstep_trace_test.json";
};

TEST_F(ProfiledSteps, TheFileHoldsThePhasesAndEveryOpInsideThem) {
  const json trace = json::parse(run(5));
  EXPECT_EQ(testing::nesting_error(trace), "");
  EXPECT_EQ(testing::count_spans(trace, "phase", "step"), 2);
  for (const char* phase : {"data", "forward", "backward", "reduce", "update"}) EXPECT_EQ(testing::count_spans(trace, "phase", phase), 2) << phase;
  for (const char* op : {"sgd_step", "softmax_cross_entropy", "linear_forward"}) EXPECT_EQ(testing::count_spans(trace, "op", op), 2) << op;
  EXPECT_EQ(testing::count_inside(trace, "linear_forward", "forward"), 2);
  EXPECT_EQ(testing::count_inside(trace, "linear_backward_data", "backward"), 2);
  EXPECT_EQ(testing::count_inside(trace, "sgd_step", "update"), 2);
  EXPECT_EQ(testing::count_inside(trace, "sgd_step", "forward"), 0);
  EXPECT_EQ(testing::ops_outside_of_phases(trace), 0);
}

// More steps than the loader may have read ahead before the trace began.
TEST_F(ProfiledSteps, TheLoadersWorkIsTraced) {
  const json trace = json::parse(run(18, 16));
  EXPECT_GT(testing::count_spans(trace, "loader", "fill"), 0);
}

TEST_F(ProfiledSteps, ARunThatEndsWithinTheTraceIsWrittenAtItsEnd) {
  EXPECT_EQ(testing::count_spans(json::parse(run(2)), "phase", "step"), 1);
  EXPECT_EQ(testing::count_spans(json::parse(run(3)), "phase", "step"), 2);
  EXPECT_EQ(run(1), "") << "too short: nothing is traced";
  EXPECT_FALSE(trace_enabled());
}

TEST_F(ProfiledSteps, AnAbandonedProfileLeavesNoTraceUnderWay) {
  const auto comm = make_solo_communicator();
  BenchJob job(tiny(), *comm);
  {
    Profiler profiler({.file = file_, .steps = 2, .skip = 0}, job.session().network.kernels, *comm);
    profiler.before_step();
    EXPECT_TRUE(trace_enabled());
  }
  EXPECT_FALSE(trace_enabled());
  job.step();
}

TEST(Profiler, AFileThatCantBeWrittenIsKnownAtTheStart) {
  const auto comm = make_solo_communicator();
  BenchJob job(tiny(), *comm);
  EXPECT_THROW(Profiler({.file = "/nowhere/trace.json"}, job.session().network.kernels, *comm), EnvironmentError);
  EXPECT_THROW(Profiler({.file = "", .steps = 0}, job.session().network.kernels, *comm), UserError);
}

TEST(Nesting, AnOverlapAndAChildThatIsTooLongAreSeen) {  // the check can fail
  const auto trace = [](double begin, double length) {
    const auto span = [](const char* name, double ts, double dur) {
      return json{{"name", name}, {"cat", "phase"}, {"ph", "X"}, {"pid", 0}, {"tid", 2}, {"ts", ts}, {"dur", dur}, {"args", json::object()}};
    };
    return json{{"traceEvents", {span("a", 0, 10), span("b", begin, length)}}};
  };
  EXPECT_EQ(testing::nesting_error(trace(2, 5)), "");
  EXPECT_EQ(testing::nesting_error(trace(10, 5)), "");
  EXPECT_NE(testing::nesting_error(trace(2, 9)), "");
}

}  // namespace
}  // namespace lockstep
