// What passes take: the rules of step_time.h on layers whose counts are known, and on every network.
// SPDX-License-Identifier: Apache-2.0
#include "planning/step_time.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "models/zoo.h"
#include "planning/step_prediction.h"

namespace lockstep {
namespace {

// 1 TOP/s, 1 GB/s, whole.
DeviceDescription machine() {
  DeviceDescription device{.name = "test", .memory_bytes_per_second = 1e9};
  device.peaks.fill(1e12);
  return device;
}

LayerInfo conv(std::int64_t channels, std::int64_t side, std::int64_t filter, std::int64_t operations, std::int64_t stride = 1) {
  LayerInfo layer{
      .name = "conv", .op = "conv2d", .output = {1, channels, side / stride, side / stride}, .parameters = channels * channels * filter * filter};
  layer.work = {.weights = layer.parameters, .inputs = channels * side * side, .outputs = layer.output.numel(), .operations = operations};
  return layer;
}

TEST(StepTime, ALayerTakesTheLargerOfArithmeticAndMemory) {
  const LayerInfo first = conv(8, 16, 1, 1'000'000'000), second = conv(8, 16, 1, 1);
  const std::vector<LayerInfo> layers{first, second};
  const ComputeTime time = roofline_time(layers, machine(), NumberFormat::kFp32, 0);
  const double memory = (2 * 8 * 16 * 16 + 64) * 4 / 1e9;
  EXPECT_DOUBLE_EQ(time.layers[0].forward_s, 1e-3) << "bound by arithmetic";
  EXPECT_DOUBLE_EQ(time.layers[0].backward_s, 1e-3) << "the first layer has no data gradient";
  EXPECT_DOUBLE_EQ(time.layers[1].forward_s, memory) << "bound by memory";
  EXPECT_DOUBLE_EQ(time.layers[1].backward_s, 2 * memory);
  EXPECT_DOUBLE_EQ(time.forward_s(), 1e-3 + memory);
}

TEST(StepTime, EfficienciesAndOverheadsSlowDown) {
  DeviceDescription device = machine();
  device.efficiency = {.arithmetic = 0.5, .memory = 0.25, .step_overhead_s = 0.01, .kernel_overhead_s = 1e-3};
  const std::vector<LayerInfo> layers{conv(8, 16, 1, 1'000'000'000), conv(8, 16, 1, 1)};
  const ComputeTime time = roofline_time(layers, device, NumberFormat::kFp32, 0);
  EXPECT_DOUBLE_EQ(time.layers[0].forward_s, 2e-3 + 1e-3);
  EXPECT_NEAR(time.layers[1].backward_s, 2 * (4 * (2 * 8 * 16 * 16 + 64) * 4 / 1e9 + 1e-3), 1e-15);
  EXPECT_DOUBLE_EQ(time.overhead_s, 0.01);
}

TEST(StepTime, WinogradSpeedsUp3x3OfStride1InFp32Alone) {
  DeviceDescription device = machine();
  device.efficiency.winograd_gain = 4;
  const std::int64_t work = 4'000'000'000;
  const auto seconds = [&](const LayerInfo& layer, NumberFormat format) {
    return roofline_time(std::vector{layer}, device, format, 0).layers[0].forward_s;
  };
  EXPECT_DOUBLE_EQ(seconds(conv(8, 16, 3, work), NumberFormat::kFp32), 1e-3);
  EXPECT_DOUBLE_EQ(seconds(conv(8, 16, 3, work), NumberFormat::kFp16), 4e-3);
  for (const LayerInfo& other : {conv(8, 16, 1, work), conv(8, 16, 5, work), conv(8, 16, 3, work, 2)})
    EXPECT_DOUBLE_EQ(seconds(other, NumberFormat::kFp32), 4e-3);
}

// Buckets are ready when their layers are: a parameter without a layer would hold its bucket back to the end.
TEST(StepTime, EveryParameterOfEveryNetworkHasItsLayer) {
  for (const ZooEntry& entry : zoo()) {
    SCOPED_TRACE(entry.name);
    const std::unique_ptr<Model> model = make_model({.name = std::string(entry.name), .classes = 10, .height = entry.side, .width = entry.side});
    std::set<std::string> layers;
    for (const LayerInfo& layer : model->layers({2, 3, entry.side, entry.side})) layers.insert(layer.name);
    for (const Parameter* parameter : model->parameters())
      EXPECT_EQ(layers.count(parameter->name.substr(0, parameter->name.rfind('.'))), 1u) << parameter->name;
  }
}

TEST(StepTime, GradientsBecomeReadyFromTheLastLayerToTheFirst) {
  const std::unique_ptr<Model> model = make_model({.name = "resnet18", .height = 64, .width = 64});
  const ComputeTime time = roofline_time(model->layers({4, 3, 64, 64}), machine(), NumberFormat::kFp32, model->parameter_count());
  const std::vector<double> ready = gradient_times(*model, time);
  ASSERT_EQ(ready.size(), model->parameters().size());
  EXPECT_NEAR(ready.front(), time.backward_s(), 1e-12);
  EXPECT_LT(ready.back(), 0.05 * time.backward_s()) << "the classifier's";
  for (std::size_t i = 0; i < ready.size(); ++i) {
    EXPECT_GT(ready[i], 0);
    EXPECT_LE(ready[i], time.backward_s() * (1 + 1e-12));
  }
}

TEST(StepPrediction, ShardsOneAfterTheOtherShareOneReduction) {
  const std::unique_ptr<Model> model = make_model({.name = "resnet18", .height = 64, .width = 64});
  const ComputeTime time = roofline_time(model->layers({4, 3, 64, 64}), machine(), NumberFormat::kFp32, model->parameter_count());
  ClusterDescription cluster = load_cluster("ethernet_10g");
  cluster.straggler_share = 0;
  const StepPrediction one = predict_step(*model, time, {.ranks = 4, .shards_per_rank = 1, .shard_batch = 4}, cluster);
  const StepPrediction four = predict_step(*model, time, {.ranks = 4, .shards_per_rank = 4, .shard_batch = 4}, cluster);
  EXPECT_NEAR(four.forward_s, 4 * one.forward_s, 1e-9);
  EXPECT_NEAR(four.simulation.exposed_s, one.simulation.exposed_s, 1e-9);
  EXPECT_GT(four.simulation.efficiency(), one.simulation.efficiency());
  EXPECT_NEAR(four.images_per_second() * four.step_s(), 64, 1e-9);
}

TEST(StepPrediction, BatchNormAcrossRanksCostsTwoExchangesPerLayer) {
  const std::unique_ptr<Model> model = make_model({.name = "resnet18", .height = 64, .width = 64});
  const ComputeTime time = roofline_time(model->layers({4, 3, 64, 64}), machine(), NumberFormat::kFp32, model->parameter_count());
  const ClusterDescription cluster = load_cluster("dgx_h100");
  const StepPrediction alone = predict_step(*model, time, {.ranks = 8, .shard_batch = 4}, cluster);
  const StepPrediction group = predict_step(*model, time, {.ranks = 8, .shard_batch = 4, .norm_ranks = 2}, cluster);
  double bytes = 0;
  for (const Buffer* buffer : model->buffers()) bytes += static_cast<double>(buffer->value.nbytes());
  const double norms = 20;  // of resnet18
  EXPECT_EQ(alone.norm_sync_s, 0);
  EXPECT_NEAR(group.norm_sync_s, 2 * norms * plan_all_reduce(cluster, ReduceOrder::kFixedTree, 2, bytes / norms).seconds, 1e-12);
  EXPECT_GT(group.step_s(), alone.step_s());
}

TEST(StepPrediction, ExactNeedsAPowerOfTwoAndRanksACluster) {
  const std::unique_ptr<Model> model = make_model({.name = "resnet8", .classes = 10, .height = 32, .width = 32});
  const ComputeTime time = roofline_time(model->layers({4, 3, 32, 32}), machine(), NumberFormat::kFp32, model->parameter_count());
  EXPECT_THROW(predict_step(*model, time, {.ranks = 3, .shard_batch = 4}, load_cluster("ethernet_10g")), UserError);
  EXPECT_THROW(predict_step(*model, time, {.ranks = 2, .shard_batch = 4}, std::nullopt), UserError);
}

}  // namespace
}  // namespace lockstep
