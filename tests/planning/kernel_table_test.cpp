// Tables of measured kernels: both benchmarks' JSON, what a plan makes of them, and what is refused.
// SPDX-License-Identifier: Apache-2.0
#include "planning/kernel_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

constexpr const char* kSubject = R"("model": "resnet8", "height": 32, "width": 32, "batch": 16, "dtype": "f32", "ranks": 1, "threads_per_rank": 1)";

std::string step_json(const std::string& more = "") {
  return std::string("{") + kSubject + R"(, "step_ms": 100, "data_ms": 5, "reduce_ms": 5, "forward_ms": 30, "backward_ms": 50, "update_ms": 10)" +
         more + "}";
}

std::string message_of(const std::string& text) {
  try {
    parse_kernel_table(text, "table.json");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

ComputeTime shape() {
  ComputeTime time;
  time.layers = {{"a", 1, 3}, {"b", 3, 1}};
  return time;
}

TEST(KernelTable, OfAStepLeavesWaitingOut) {
  const KernelTable table = parse_kernel_table(step_json(), "t");
  EXPECT_DOUBLE_EQ(table.step_s, 0.090);
  EXPECT_DOUBLE_EQ(table.forward_s, 0.030);
  EXPECT_DOUBLE_EQ(table.backward_s, 0.050);
  EXPECT_DOUBLE_EQ(table.update_s, 0.010);
}

TEST(KernelTable, OfOpsSortsKernelsByTheirNames) {
  const std::string ops =
      R"(, "ops": [{"name": "conv2d_forward", "class": "convolution", "ms": 20}, {"name": "conv2d_backward_data", "class": "convolution", "ms": 30},
      {"name": "batch_norm_forward", "class": "batch norm", "ms": 5}, {"name": "sgd_step", "class": "optimizer", "ms": 5}])";
  const KernelTable table = parse_kernel_table(std::string("{") + kSubject + R"(, "step_ms": 70, "waiting_ms": 4)" + ops + "}", "t");
  EXPECT_DOUBLE_EQ(table.step_s, 0.066);
  EXPECT_NEAR(table.forward_s, 0.025 * 66 / 60, 1e-12) << "what lies between the kernels is spread over them";
  EXPECT_NEAR(table.backward_s, 0.030 * 66 / 60, 1e-12);
  EXPECT_NEAR(table.update_s, 0.005 * 66 / 60, 1e-12);
}

TEST(KernelTable, OfAGpuIsTheDevicesTime) {
  const KernelTable table = parse_kernel_table(step_json(R"(, "device_ms": 80)"), "t");
  EXPECT_DOUBLE_EQ(table.step_s, 0.080);
  EXPECT_DOUBLE_EQ(table.forward_s, 0);
}

TEST(KernelTable, SpreadsTheMeasuredPassesOverTheLayers) {
  const KernelTable table = parse_kernel_table(step_json(), "t");
  const ComputeTime time = measured_time(table, {"resnet8", "f32", 32, 32, 16}, shape());
  EXPECT_NEAR(time.forward_s(), 0.030, 1e-15);
  EXPECT_NEAR(time.backward_s(), 0.050, 1e-15);
  EXPECT_NEAR(time.layers[0].forward_s, 0.030 / 4, 1e-15);
  EXPECT_NEAR(time.layers[0].backward_s, 0.050 * 3 / 4, 1e-15);
  const ComputeTime half = measured_time(table, {"resnet8", "f32", 32, 32, 8}, shape());
  EXPECT_NEAR(half.forward_s(), 0.015, 1e-15);
  EXPECT_NEAR(half.update_s, 0.010, 1e-15) << "the optimizer doesn't know the batch";
  EXPECT_THAT(half.basis, HasSubstr("scaled to 8"));
  const ComputeTime gpu = measured_time(parse_kernel_table(step_json(R"(, "device_ms": 80)"), "t"), {"resnet8", "f32", 32, 32, 16}, shape());
  EXPECT_NEAR(gpu.forward_s() + gpu.backward_s() + gpu.update_s, 0.080, 1e-12);
}

TEST(KernelTable, AnotherSubjectIsRefused) {
  const KernelTable table = parse_kernel_table(step_json(), "t");
  for (const TableSubject& other : {TableSubject{"resnet14", "f32", 32, 32, 16}, {"resnet8", "bf16", 32, 32, 16}, {"resnet8", "f32", 28, 28, 16}})
    EXPECT_THROW(measured_time(table, other, shape()), UserError);
}

TEST(KernelTable, WhatIsWrongIsSaid) {
  EXPECT_THAT(message_of("no json"), HasSubstr("no JSON object"));
  EXPECT_THAT(message_of("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(message_of("{}"), HasSubstr("model: got nothing"));
  EXPECT_THAT(message_of(step_json(R"(, "step_ms": -3)")), HasSubstr("step_ms: got -3"));
  EXPECT_THAT(message_of(step_json(R"(, "batch": 0)")), HasSubstr("batch: got 0"));
  EXPECT_THAT(message_of(step_json(R"(, "data_ms": 200)")), HasSubstr("nothing is left"));
  EXPECT_THAT(message_of(step_json(R"(, "ops": [3])")), HasSubstr("ops"));
  try {
    load_kernel_table("/nowhere/table.json");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kNoInput);
  }
}

}  // namespace
}  // namespace lockstep
