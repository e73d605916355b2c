// SPDX-License-Identifier: Apache-2.0
#include "planning/published.h"

#include <array>
#include <cmath>

namespace lockstep {
namespace {

constexpr std::array<GoyalPoint, 10> kGoyal{{{128, 23.49, 0.12},
                                             {256, 23.60, 0.12},
                                             {512, 23.48, 0.09},
                                             {1024, 23.53, 0.08},
                                             {2048, 23.49, 0.11},
                                             {4096, 23.56, 0.12},
                                             {8192, 23.74, 0.09},
                                             {16384, 24.79, 0.27},
                                             {32768, 27.55, 0.28},
                                             {65536, 33.96, 0.80}}};
constexpr std::array<EpochPoint, 18> kMlperf{{{408, 35},
                                              {816, 35},
                                              {1024, 35},
                                              {1632, 35},
                                              {2048, 35},
                                              {3200, 35},
                                              {4096, 36},
                                              {5120, 40},
                                              {8192, 43.5},
                                              {10240, 45},
                                              {13056, 45},
                                              {16384, 47},
                                              {20480, 50},
                                              {32256, 56},
                                              {35840, 58},
                                              {40448, 68},
                                              {57344, 77},
                                              {65536, 89}}};
constexpr double kMlperfEpochs = 33.5, kMlperfCriticalBatch = 43500;

}  // namespace

std::span<const GoyalPoint> goyal_points() { return kGoyal; }
std::span<const EpochPoint> mlperf_points() { return kMlperf; }

std::optional<double> goyal_accuracy(double batch) {
  if (!(batch >= kGoyal.front().batch && batch <= kGoyal.back().batch)) return std::nullopt;
  for (std::size_t i = 1; i < kGoyal.size(); ++i) {
    if (batch > kGoyal[i].batch) continue;
    const GoyalPoint &low = kGoyal[i - 1], &high = kGoyal[i];
    const double share = std::log(batch / low.batch) / std::log(high.batch / low.batch);
    return 100 - (low.error_percent + share * (high.error_percent - low.error_percent));
  }
  return std::nullopt;
}

BatchLaw mlperf_law() {
  return {.min_samples = kMlperfEpochs * kImagenetImages, .critical_batch = kMlperfCriticalBatch, .critical_low = kMlperfCriticalBatch,
          .critical_high = kMlperfCriticalBatch, .worst_residual = 0.1, .points = kMlperf.size()};
}

}  // namespace lockstep
