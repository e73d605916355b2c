// AlexNet: Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks", as torchvision
// has it (one column, no response norm: Krizhevsky 2014, arXiv 1404.5997) and as the paper does.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "models/model.h"

namespace lockstep {

std::unique_ptr<Model> make_alexnet(const ModelOptions& options);

// The paper's figure 2 and section 3: the two GPUs' columns are two groups of channels in the 2nd, 4th and 5th convolution; local
// response norm after the first two (k = 2, n = 5, alpha = 1e-4 undivided, beta = 0.75); overlapping pooling. The first layer's
// 55x55 outputs need 227x227 images. Names are Caffe's: conv1 ... conv5, fc6 ... fc8.
std::unique_ptr<Model> make_alexnet_grouped(const ModelOptions& options);

}  // namespace lockstep
