// The convolutions that a network of models/ asks its backend for in one training step.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cuda/conv_engine.h"
#include "models/model.h"

namespace lockstep::cuda {

// One convolution of a network, once for all layers that are alike, with what a training step does with it.
struct NetworkConvolution {
  Shape x, w;
  Conv2dParams params;
  bool plain = false;       // forward from a tensor that lies in memory
  bool normalised = false;  // forward from relu(norm(x))
  bool data = false;        // a data gradient (the first layer has none)
};

// In forward order, at `batch` images of the options' size. Runs the model's own forward and backward pass over kernels that only
// write down what they are called with.
std::vector<NetworkConvolution> convolutions_of(const ModelOptions& options, std::int64_t batch);

// What cuda/convolution.cpp may ask its engine for, for such a convolution.
std::vector<ConvProblem> problems_of(const NetworkConvolution& convolution, DType dtype, bool tf32);

}  // namespace lockstep::cuda
