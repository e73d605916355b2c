// WeightAverage: an exponential moving average of a model's parameters and buffers, in statistics precision.
//
// average = d * average + (1 - d) * value, d = decay, or min(decay, (1 + n) / (10 + n)) after n changes with warm-up (the
// arithmetic of torchvision's and timm's EMA, TensorFlow's warm-up). n follows from the step, so that nothing but the averages is state.
// Begins as a copy of the model when training begins; on a device it lies there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "models/model.h"
#include "ops/kernels.h"
#include "train/checkpoint/state.h"
#include "train/network.h"

namespace lockstep {

namespace proto {
class WeightAverage;
}

inline constexpr const char* kAveragePrefix = "average.";  // of its tensors' names

class WeightAverage {
 public:
  WeightAverage(const proto::WeightAverage& config, const Model& model);  // config.decay() > 0; keeps a pointer to the model

  // After optimizer step `step` (from 0); a no-op unless every_steps divides step + 1. `control`: empty, or the device's StepControl:
  // after a step that was not finite (halted, or skipped by loss scaling) nothing changes, as the step itself changed nothing.
  void update(Kernels& kernels, Stream stream, std::int64_t step, ConstView control = {});
  double decay_at(std::int64_t step) const;  // d of that update

  // While it lives the network computes with the averages: for evaluation between steps, never during one. Swaps handles, copies
  // nothing but 16-bit compute copies.
  class Use {
   public:
    Use(WeightAverage& average, Network& network);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    WeightAverage& average_;
    Network& network_;
  };

  void restart();                // the averages become the model's present values
  void to_device(Device device);
  // "average.<parameter or buffer>", in the model's order (the averages' own memory): part of the training state.
  std::vector<NamedTensor> tensors() const;

 private:
  double decay_;
  std::int64_t every_steps_;
  bool warmup_;
  const Model& model_;
  std::vector<Tensor> averages_;  // of parameters by id, then buffers by id
  std::vector<AverageTensor> list_;  // rebuilt at each update in place
};

}  // namespace lockstep
