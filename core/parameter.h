// Parameter and Buffer: what a network learns, and what it only observes. Two types, so that no optimizer can touch
// a running statistic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace lockstep {

// What kind of parameter it is: the rules of parameter groups (decay or not) are written in these terms.
enum class ParameterKind : std::uint8_t { kWeight, kBias, kNormScale, kNormBias };

// `id` counts from 0 in the order in which the model made its parameters (forward order).
struct Parameter {
  int id = 0;
  std::string name;  // torchvision's: "layer1.0.conv1.weight"
  ParameterKind kind = ParameterKind::kWeight;
  Tensor value;      // f32 or f64: the master copy, which the optimizer updates and a checkpoint keeps
  Tensor compute;    // empty, or value rounded to the 16 bits that the ops compute with; renewed whenever value changes

  const Tensor& operand() const { return compute ? compute : value; }
};

// Running statistics: value <- (1 - momentum) * value + momentum * observed, once a step, with the mean over shards of
// what the shards observed.
struct Buffer {
  int id = 0;
  std::string name;  // "layer1.0.bn1.running_mean"
  Tensor value;      // f32 or f64
  double momentum = 0.1;
};

}  // namespace lockstep
