// Rooflines by hand, on a device whose figures are round.
// SPDX-License-Identifier: Apache-2.0
#include "planning/roofline.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "ops/conv2d.h"
#include "ops/linear.h"
#include "planning/step_calls.h"

namespace lockstep {
namespace {

// 1 TOP/s, 100 GB/s: ridge 10. 1 MB on the chip.
DeviceDescription round_device() {
  return parse_device("name: 'round' peak { format: FP32 tera_ops: 1 } memory_gb_per_second: 100 memory_gb: 8 cache_mb: 0.75 "
                      "near_memory_mb: 0.25 power_w: 50",
                      "test");
}

NetworkCount count_of(std::vector<Work> works, std::int64_t batch = 1) {
  NetworkCount count{.name = "net", .images = {batch, 1, 1, 1}, .batch = batch, .layers = {}};
  for (const Work& work : works)
    count.layers.push_back({.name = fmt::format("l{}", count.layers.size()), .op = "conv2d", .output = {1}, .work = work});
  return count;
}

constexpr NumberWidths kF32{};

TEST(Roofline, TimeIsTheLargerOfArithmeticAndMemory) {
  const DeviceDescription device = round_device();
  const Demand asked{.weight_bytes = 1e9, .input_bytes = 3e9, .operations = 20e9};
  const TimeBound all = time_bound(asked, Traffic::kWeightsAndInputs, device, NumberFormat::kFp32);
  EXPECT_DOUBLE_EQ(all.arithmetic_s, 0.02);
  EXPECT_DOUBLE_EQ(all.memory_s, 0.04);
  EXPECT_DOUBLE_EQ(all.seconds(), 0.04);
  EXPECT_TRUE(all.memory_bound());
  EXPECT_DOUBLE_EQ(asked.intensity(), 5);
  const TimeBound weights = time_bound(asked, Traffic::kWeights, device, NumberFormat::kFp32);
  EXPECT_DOUBLE_EQ(weights.seconds(), 0.02);
  EXPECT_FALSE(weights.memory_bound());
  EXPECT_DOUBLE_EQ(asked.intensity_of_weights(), 20);
}

TEST(Roofline, ANetworksTimeIsTheSumOfItsLayers) {
  // A layer that memory holds up (10 MB, 1 MOP: 0.1 ms against 1 us), and one that arithmetic does (1 MB, 1 GOP: 10 us against 1 ms).
  const NetworkCount count = count_of({{.weights = 2'000'000, .inputs = 500'000, .outputs = 10, .operations = 1'000'000},
                                       {.weights = 150'000, .inputs = 100'000, .outputs = 100'000, .operations = 1'000'000'000}});
  const DeviceBound bound = bound_network(count, kF32, Purpose::kInference, round_device(), NumberFormat::kFp32);
  EXPECT_DOUBLE_EQ(bound.seconds, 1e-4 + 1e-3);
  EXPECT_DOUBLE_EQ(bound.weights_s, 8e-5 + 1e-3);
  EXPECT_DOUBLE_EQ(bound.arithmetic_s, 1.001e-3);
  EXPECT_EQ(bound.layers, 2);
  EXPECT_EQ(bound.memory_bound, 1);
  EXPECT_EQ(bound.fit_on_chip, 1) << "2.0 MB and 0.8 MB of input and output, 1 MB on the chip";
  EXPECT_EQ(bound.kernels_s, 0) << "not known";
  const DeviceBound training = bound_network(count, kF32, Purpose::kTraining, round_device(), NumberFormat::kFp32);
  EXPECT_DOUBLE_EQ(training.seconds, (3 * 8e6 + 2 * 2e6) / 100e9 + 3e-3);
}

TEST(Roofline, NarrowNumbersMoveFaster) {
  const NetworkCount count = count_of({{.weights = 1'000'000, .inputs = 1'000'000, .outputs = 1, .operations = 1}});
  const double wide = bound_network(count, kF32, Purpose::kInference, round_device(), NumberFormat::kFp32).seconds;
  const double narrow = bound_network(count, {.weights = 8, .activations = 8}, Purpose::kInference, round_device(), NumberFormat::kFp32).seconds;
  EXPECT_DOUBLE_EQ(wide, 4 * narrow);
}

TEST(Roofline, TheChartHasARoofAndAPointPerLayerOnIt) {
  const NetworkCount count = count_of({{.weights = 100, .inputs = 100, .outputs = 100, .operations = 400},       // 0.5 OP/B
                                       {.weights = 100, .inputs = 100, .outputs = 100, .operations = 80'000}});  // 100 OP/B
  const std::vector<DeviceDescription> devices{round_device(), load_device("p40")};
  const Chart chart = roofline_chart(count, kF32, Purpose::kInference, devices, NumberFormat::kFp32);
  EXPECT_TRUE(chart.x.log);
  EXPECT_TRUE(chart.y.log);
  ASSERT_EQ(chart.series.size(), 6u) << "a roof, the layers and the network for each device";
  const Series &roof = chart.series[0], &layers = chart.series[1], &whole = chart.series[2];
  ASSERT_EQ(roof.points.size(), 3u);
  EXPECT_LT(roof.points[0].x, 0.5);
  EXPECT_DOUBLE_EQ(roof.points[0].y, roof.points[0].x * 100e9);
  EXPECT_DOUBLE_EQ(roof.points[1].x, 10);
  EXPECT_DOUBLE_EQ(roof.points[2].y, 1e12);
  EXPECT_GT(roof.points[2].x, 100);
  ASSERT_EQ(layers.points.size(), 2u);
  EXPECT_DOUBLE_EQ(layers.points[0].y, 50e9);
  EXPECT_DOUBLE_EQ(layers.points[1].y, 1e12);
  EXPECT_LT(whole.points[0].y, std::min(1e12, whole.points[0].x * 100e9)) << "one layer waits while the other computes";
  EXPECT_EQ(roof.colour, layers.colour);
  EXPECT_NE(roof.colour, chart.series[3].colour);
  EXPECT_NE(svg(chart).find("<svg"), std::string::npos);
}

TEST(Roofline, EqualLayersShareAPointThatNamesThem) {
  const Work work{.weights = 100, .inputs = 100, .outputs = 100, .operations = 400};
  const std::vector<DeviceDescription> devices{round_device()};
  const NetworkCount count = count_of({work, work, work, {.weights = 7, .inputs = 1, .outputs = 1, .operations = 9}});
  const Chart chart = roofline_chart(count, kF32, Purpose::kInference, devices, NumberFormat::kFp32);
  ASSERT_EQ(chart.series[1].points.size(), 2u);
  EXPECT_EQ(chart.series[1].points[0].label, "l0, l1 and 1 more on round: 0.5 OP/B, 50.0 GOP/s");
}

TEST(Roofline, KernelByKernelAStepAsksForMoreThanItsLayers) {
  const ModelOptions options{.name = "resnet18", .classes = 10, .height = 64, .width = 64};
  const DeviceDescription device = load_device("h100");
  const NetworkCount count = count_network(*make_model(options), {8, 3, 64, 64});
  const std::vector<OpCall> calls = step_calls(make_model(options), 8, DType::kF32, true);
  const DeviceBound bound = bound_network(count, kF32, Purpose::kTraining, device, NumberFormat::kFp32, calls);
  EXPECT_GT(bound.kernels_s, bound.arithmetic_s);
  double by_hand = 0;
  for (const OpCall& call : calls) by_hand += std::max(call.flops / 67e12, call.bytes / 3350e9);
  EXPECT_DOUBLE_EQ(bound.kernels_s, by_hand);
  const auto named = [&](std::string_view name) { return std::ranges::count_if(calls, [&](const OpCall& call) { return call.name == name; }); };
  EXPECT_EQ(named("sgd_step"), 1);
  EXPECT_EQ(named("linear_backward_weight"), 1);
  EXPECT_EQ(named("softmax_cross_entropy"), 1);
}

TEST(StepCalls, SixteenBitsMoveHalfTheActivations) {
  const ModelOptions options{.name = "resnet8", .classes = 10, .height = 32, .width = 32};
  const auto forward_bytes = [&](DType dtype) {
    double bytes = 0;
    for (const OpCall& call : step_calls(make_model(options), 4, dtype, false))
      if (std::string_view(call.name).find("conv2d") != std::string_view::npos) bytes += call.bytes;
    return bytes;
  };
  EXPECT_DOUBLE_EQ(forward_bytes(DType::kF32), 2 * forward_bytes(DType::kBF16));
}

}  // namespace
}  // namespace lockstep
