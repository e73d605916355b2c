// ShardPass: the forward and backward pass of one shard.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tape.h"
#include "ops/context.h"
#include "train/network.h"
#include "train/step.h"

namespace lockstep {

// One shard's images and labels, as the loader delivers them: u8 (n, C, H, W) and i32 (n).
struct ShardBatch {
  Tensor images, labels;
  Tensor mix = {};  // i32 (n, 8), rows of core/mix_row.h; empty: nothing is mixed
};

// Sums over one shard, as softmax_cross_entropy defines them: f64 (4) on the backend's device.
struct ShardSums {
  double loss = 0, top1 = 0, top5 = 0, count = 0;
};
ShardSums read_sums(const Tensor& sums);  // from a device: blocks

class ShardPass {
 public:
  // `norm_sync` may be null. References must outlive the pass.
  ShardPass(Network& network, double label_smoothing, NormSync* norm_sync);

  // Gradients go to `gradients`, batch statistics to `observations`. `shard` is the global shard index. `after_forward` is
  // called with the sums' tensor between the passes: what it reports can be reduced while the backward pass runs. Times are
  // added; on a device they are the time that giving out the work took.
  void train(const ShardBatch& batch, std::uint64_t seed, std::int64_t step, int shard, GradSink& gradients,
             ObservationSink& observations, const std::function<void(const Tensor& sums)>& after_forward, StepTimes& times);

  // The gradient that the backward pass begins with: 1 unless it is set. Scalar, statistics, on the backend's device.
  Tensor& seed_gradient() { return seed_gradient_; }

 private:
  Network& network_;
  double label_smoothing_;
  NormSync* norm_sync_;
  Tape tape_;
  Tensor seed_gradient_;  // 1, statistics dtype
};

// Forward in evaluation mode, nothing recorded. The batch lies on the host. Blocks.
ShardSums evaluate_batch(Network& network, const ShardBatch& batch);
// The same for images of this shape, computing nothing: the backend prepares what it needs.
void rehearse_evaluation(Network& network, const Shape& images);
// Logits (n, classes) of images u8 (n, C, H, W) on the host, in evaluation mode; on the host, statistics. Blocks.
Tensor evaluation_logits(Network& network, const Tensor& images);

}  // namespace lockstep
