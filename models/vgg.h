// VGG: Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition" (arXiv 1409.1556),
// configurations A, D and E of table 1, with torchvision's names.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include "models/model.h"

namespace lockstep {

struct VggSpec {
  std::array<int, 5> convs_per_stage{};  // each stage ends in pooling; its width is 64, 128, 256, 512, 512
  bool batch_norm = false;               // between convolution and ReLU
};

std::unique_ptr<Model> make_vgg(const ModelOptions& options, const VggSpec& spec);

}  // namespace lockstep
