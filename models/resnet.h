// Residual networks: He et al. 2016, "Deep residual learning for image recognition", with torchvision's names.
//
// Four stages of basic or bottleneck blocks (section 4.1), or three stages of basic blocks for small images (section 4.2).
// Where a block changes the shape, the short cut is a 1x1 convolution with batch norm (option B).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "models/model.h"

namespace lockstep {

enum class ResNetBlock : std::uint8_t { kBasic, kBottleneck };

struct ResNetSpec {
  ResNetBlock block = ResNetBlock::kBasic;
  std::vector<int> blocks_per_stage;
  int base_width = 64;          // of the first stage; each later one is twice as wide
  Stem stem = Stem::kImagenet;  // if the options leave it open
};

std::unique_ptr<Model> make_resnet(const ModelOptions& options, const ResNetSpec& spec);

}  // namespace lockstep
