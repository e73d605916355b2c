// What is published on batch size and accuracy of ResNet-50 on ImageNet: the yardsticks of a plan's warnings and of its tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "planning/batch_law.h"

namespace lockstep {

// Goyal et al. 2017 (arXiv 1706.02677), table 2 and figure 1: SGD with momentum 0.9, lr 0.1 per 256 images, 5 epochs of warm-up, 90 epochs.
struct GoyalPoint {
  double batch = 0, error_percent = 0, deviation = 0;  // top-1; mean and deviation of 5 runs
};
std::span<const GoyalPoint> goyal_points();
inline constexpr double kGoyalEpochs = 90;
inline constexpr double kGoyalLrPer256 = 0.1;
inline constexpr double kGoyalWarmupEpochs = 5;
inline constexpr double kGoyalLargestBatch = 8192;  // without loss
inline constexpr double kGoyalSmallestWarmup = 2048;  // batches above it are where the warm-up matters
// Top-1 accuracy in percent, interpolated in log(batch); absent outside of 128 .. 65,536.
std::optional<double> goyal_accuracy(double batch);

// MLPerf Training, closed division, v2.0 to v4.0 (github.com/mlcommons/training_results_*): epochs to 75.9 % top-1 with LARS tuned for the
// batch.
struct EpochPoint {
  double batch = 0, epochs = 0;
};
std::span<const EpochPoint> mlperf_points();
// E = 33.5 (1 + B / 43,500) epochs: their fit (planning/batch_law.h), worst residual 10 %.
BatchLaw mlperf_law();
inline constexpr double kImagenetImages = 1281167;

}  // namespace lockstep
