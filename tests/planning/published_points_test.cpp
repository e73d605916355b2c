// Predictions against published training speeds (docs/plan.md has this table). Each device generation has at most three calibrated figures,
// in its file's `efficiency`; the points that gave them are marked, all others are predicted.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "planning/cluster.h"
#include "planning/device_description.h"
#include "planning/published.h"
#include "planning/step_prediction.h"

namespace lockstep {
namespace {

constexpr double kWithin = 0.10;  // the bar

struct PublishedRun {
  const char* model = "resnet50";
  bool v1 = false;
  int side = 224;
  const char* device = "h100";
  NumberFormat format = NumberFormat::kFp16;
  const char* cluster = nullptr;
  int ranks = 1;
  std::int64_t batch = 1;      // images per rank
  double wire_share = 0.5;     // FP16 gradients; a bucket's bytes are counted in FP32
  double bucket_mb = 1e6;      // one bucket, not overlapped: NVIDIA's MLPerf code
  bool overlap = false;
  int norm_ranks = 1;
};

StepPrediction predict(const PublishedRun& run) {
  const std::unique_ptr<Model> model = make_model({.name = run.model, .height = run.side, .width = run.side, .v1 = run.v1});
  const DeviceDescription device = load_device(run.device);
  const std::vector<LayerInfo> layers = model->layers({run.batch, 3, run.side, run.side});
  const ComputeTime compute = roofline_time(layers, device, run.format, model->parameter_count());
  std::optional<ClusterDescription> cluster;
  if (run.cluster != nullptr) cluster = with_shape(load_cluster(run.cluster), run.ranks, 0);
  const auto bytes = static_cast<std::size_t>(run.bucket_mb * 1e6);
  return predict_step(*model, compute,
                      {.ranks = run.ranks, .shard_batch = run.batch, .norm_ranks = run.norm_ranks, .order = ReduceOrder::kFast,
                       .wire_share = run.wire_share, .first_bucket_bytes = bytes, .bucket_bytes = bytes, .overlap = run.overlap},
                      cluster);
}

double per_rank(const PublishedRun& run) { return predict(run).images_per_second() / run.ranks; }

void expect_within(const std::string& what, double predicted, double published, double within = kWithin) {
  const double off = predicted / published - 1;
  std::puts(fmt::format("  {:<58} published {:>8.4g}  predicted {:>8.4g}  {:+.1f} %", what, published, predicted, 100 * off).c_str());
  EXPECT_LE(std::abs(off), within) << what;
}

void expect_speed(const std::string& what, const PublishedRun& run, double published) { expect_within(what, per_rank(run), published); }

// MLPerf Training, closed division, images/s and GPU (github.com/mlcommons/training_results_v2.0, v3.0, v3.1, v4.0).
TEST(PublishedPoints, MlperfOnH100) {
  const auto gpus = [](int ranks, std::int64_t batch) { return PublishedRun{.cluster = "dgx_h100", .ranks = ranks, .batch = batch}; };
  const auto at_scale = [](int ranks, std::int64_t batch) {
    return PublishedRun{.cluster = "dgx_h100_sharp", .ranks = ranks, .batch = batch, .norm_ranks = batch == 16 ? 2 : 1};
  };
  expect_speed("16 H100, 200 images each (calibrated)", gpus(16, 200), 6272);
  expect_speed("64 H100, 50 images each (calibrated)", gpus(64, 50), 4908);
  expect_speed("8 H100, 400 images each (convolutions fused with norms)", gpus(8, 400), 7162);
  expect_speed("512 H100, 40 images each", at_scale(512, 40), 4406);
  expect_speed("768 H100, 42 images each", at_scale(768, 42), 4445);
  expect_speed("2,528 H100, 16 images each, norm over 2 GPUs", at_scale(2528, 16), 2724);
  expect_speed("3,584 H100, 16 images each, norm over 2 GPUs", at_scale(3584, 16), 2819);
  PublishedRun h200 = gpus(8, 400);
  h200.device = "h200";
  expect_speed("8 H200, 400 images each", h200, 7950);
}

TEST(PublishedPoints, MlperfOnA100) {
  const auto gpus = [](int ranks, std::int64_t batch) {
    return PublishedRun{.device = "a100", .cluster = "dgx_a100", .ranks = ranks, .batch = batch};
  };
  expect_speed("8 A100, 408 images each (calibrated)", gpus(8, 408), 3398);
  expect_speed("64 A100, 51 images each", gpus(64, 51), 2619);
  expect_within("A100 efficiency 8 -> 64 at a global batch of 3,264", per_rank(gpus(64, 51)) / per_rank(gpus(8, 408)), 2619.0 / 3398);
}

// TensorFlow benchmarks, May 2017 (tensorflow/docs: site/en/r1/guide/performance/benchmarks.md): one P100, FP32, synthetic data.
TEST(PublishedPoints, OneP100) {
  const auto gpu = [](const char* model, int side, std::int64_t batch) {
    return PublishedRun{.model = model,
                        .v1 = std::string(model).starts_with("resnet"),
                        .side = side,
                        .device = "p100",
                        .format = NumberFormat::kFp32,
                        .batch = batch};
  };
  expect_speed("P100, ResNet-50, 64 images (calibrated)", gpu("resnet50", 224, 64), 219);
  expect_speed("P100, ResNet-50, 32 images (calibrated)", gpu("resnet50", 224, 32), 195);
  expect_speed("P100, VGG-16, 64 images (calibrated)", gpu("vgg16", 224, 64), 154);
  expect_speed("P100, VGG-16, 32 images", gpu("vgg16", 224, 32), 144);
  expect_speed("P100, Inception v3, 64 images", gpu("inception_v3", 299, 64), 142);
  expect_speed("P100, Inception v3, 32 images", gpu("inception_v3", 299, 32), 128);
  // Misses, kept in view: the overhead per kernel that fits ResNet-50 is too much for a network of three times as many.
  expect_within("P100, ResNet-152, 64 images (miss)", per_rank(gpu("resnet152", 224, 64)), 91.8, 0.15);
  expect_within("P100, ResNet-152, 32 images (miss)", per_rank(gpu("resnet152", 224, 32)), 82.7, 0.15);
}

// docs/benchmarks.rst of horovod/horovod: 512 Pascal GPUs on 128 hosts, 25 Gbit/s RoCE; tf_cnn_benchmarks, 64 images each, fusion
// buffers of 64 MB, FP32 gradients.
TEST(PublishedPoints, HorovodAt512) {
  const auto efficiency = [](const char* model, int side) {
    PublishedRun run{.model = model,
                     .v1 = std::string(model).starts_with("resnet"),
                     .side = side,
                     .device = "p100",
                     .format = NumberFormat::kFp32,
                     .cluster = "horovod_25g",
                     .ranks = 512,
                     .batch = 64,
                     .wire_share = 1,
                     .bucket_mb = 64,
                     .overlap = true};
    const double all = per_rank(run);
    run.ranks = 1;
    run.cluster = nullptr;
    return all / per_rank(run);
  };
  expect_within("Horovod, VGG-16, 1 -> 512 (calibrated: 85 % of the line)", efficiency("vgg16", 224), 0.68);
  expect_within("Horovod, ResNet-101, 1 -> 512", efficiency("resnet101", 224), 0.90);
  expect_within("Horovod, Inception v3, 1 -> 512", efficiency("inception_v3", 299), 0.90);
}

TEST(PublishedPoints, GoyalFrom8To256) {
  PublishedRun run{.device = "p100",
                   .format = NumberFormat::kFp32,
                   .cluster = "goyal_p100",
                   .ranks = 256,
                   .batch = 32,
                   .wire_share = 1,
                   .bucket_mb = 25,
                   .overlap = true};
  const double all = per_rank(run);
  run.ranks = 8;
  expect_within("Goyal, ResNet-50, 8 -> 256", all / per_rank(run), 0.90);
}

// A model that can't fail proves nothing: without latency, stragglers and overheads these points must not come out.
TEST(PublishedPoints, WithoutItsTermsTheModelMisses) {
  const std::unique_ptr<Model> model = make_model({.name = "resnet50"});
  DeviceDescription device = load_device("h100");
  device.efficiency = {};
  const ComputeTime bound = roofline_time(model->layers({16, 3, 224, 224}), device, NumberFormat::kFp16, model->parameter_count());
  const StepPrediction step = predict_step(*model, bound, {.ranks = 1, .shard_batch = 16}, std::nullopt);
  EXPECT_GT(step.images_per_second(), 2 * 2819.0);
}

TEST(PublishedPoints, MlperfEpochs) {
  const BatchLaw law = mlperf_law();
  for (const EpochPoint& point : mlperf_points())
    expect_within(fmt::format("epochs to 75.9 % at {:.0f}", point.batch), law.samples(point.batch) / kImagenetImages, point.epochs);
}

TEST(PublishedPoints, GoyalAccuracyIsThePapersAtItsPointsAndBetweenThemElsewhere) {
  for (const GoyalPoint& point : goyal_points()) EXPECT_NEAR(goyal_accuracy(point.batch).value(), 100 - point.error_percent, 1e-9);
  EXPECT_GT(goyal_accuracy(10000).value(), 75.21);
  EXPECT_LT(goyal_accuracy(10000).value(), 76.26);
  EXPECT_FALSE(goyal_accuracy(100).has_value());
  EXPECT_FALSE(goyal_accuracy(100000).has_value());
}

}  // namespace
}  // namespace lockstep
